"""Checks of options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlstm import paths
from charlstm.cli import completion
from charlstm.paths import RUNS
from charlstm.spelling import near

if TYPE_CHECKING:
    from charlstm.api import LoadedRun

RUN_HELP = "A run: its folder, its name in runs/, or latest for the one trained last; or a checkpoint file."


def expand_home(given: Any) -> Any:
    """Callback of every path parameter: the shell does not expand ``~`` in ``--runs=~/r``."""
    if isinstance(given, Path):
        return paths.expand_home(given)
    return given if given is None else [paths.expand_home(path) for path in given]


RunArgument = Annotated[
    Path, typer.Argument(callback=expand_home, metavar="RUN", autocompletion=completion.runs, help=RUN_HELP)
]
RunsOption = Annotated[
    Path, typer.Option(callback=expand_home, help="Folder in which the names of runs are looked up.")
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        autocompletion=completion.words("best", "last"),
        help="Checkpoint of the run: best, last, or the step of one that training.keep_checkpoints has kept. "
        "Without held-out text, best is the last, too.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        autocompletion=completion.devices,
        help="auto, cpu, cuda, cuda:N or mps; auto: a GPU if there is one, else the CPU.",
    ),
]


ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Train on the workers of a Dask cluster, which must share the folder of the runs. ADDRESS: that of "
        "its scheduler, such as tcp://host:8786, or its scheduler file.",
    ),
]


def check_choice(option: str, value: str, *allowed: str) -> str:
    """Returns the value. Raises BadParameter, a usage error, if it is not allowed."""
    if value not in allowed:
        match = near(value, allowed)
        hint = f". Did you mean {match}?" if match else ""
        raise typer.BadParameter(f"{value!r} is not one of: {', '.join(allowed)}{hint}", param_hint=option)
    return value


def given_options(context: typer.Context, *names: str) -> list[str]:
    """The options among these parameters that were given on the command line."""
    given = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    return ["--" + name.strip("_").replace("_", "-") for name in given]


def refuse(context: typer.Context, reason: str, *names: str) -> None:
    """Raises UserError if one of these options was given: it has no effect, for this reason."""
    from charlstm.errors import UserError

    if given := given_options(context, *names):
        raise UserError(f"{given[0]} has no effect {reason}")


def find_folder(context: typer.Context, run: Path, runs: Path) -> Path:
    """The folder of a run, or a checkpoint file, for a command with ``--runs``. Raises UserError."""
    from charlstm.runs import names

    path = names.find_run(run, runs)
    if path == run:
        refuse(context, f"with {run}, which is a path", "runs")
    return path


def find_run(context: typer.Context, run: Path, checkpoint: str, device: str, runs: Path = RUNS) -> Path:
    """The run or checkpoint file for a command with ``--checkpoint``, ``--device`` and ``--runs``, whose values are
    checked, too.

    Loads no torch. Raises UserError, and BadParameter for a wrong value.
    """
    from charlstm.config import check_device_name
    from charlstm.errors import UserError
    from charlstm.runs.naming import is_step

    if not is_step(checkpoint):
        check_choice("--checkpoint", checkpoint, "best", "last", "STEP")
    try:
        check_device_name(device)
    except ValueError as error:
        raise UserError(f"device: {error}") from None
    path = find_folder(context, run, runs)
    if not paths.is_folder(path):
        refuse(context, "with the file of one checkpoint", "checkpoint")
    return path


def load_run(context: typer.Context, run: Path, checkpoint: str, runs: Path) -> LoadedRun:
    """Load the run that :func:`find_run` finds on the CPU, and raise as it does."""
    path = find_run(context, run, checkpoint, "cpu", runs)
    from charlstm.api import load

    return load(path, checkpoint, "cpu")


def output_folder(option: str, given: Path | None, run: Path, name: str) -> Path:
    """The folder to write a page into, by default the one of this name in that of the run.

    Raises UserError, before anything is computed, if nothing can be written there.
    """
    from charlstm.runs.names import home_folder

    folder = home_folder(run) / name if given is None else given
    check_writable(folder, f"choose another folder: {option} FOLDER")
    return folder


def check_writable(folder: Path, remedy: str) -> None:
    """Raises UserError if no file can be written into a folder, which need not exist."""
    from charlstm.errors import UserError
    from charlstm.files import why_not_writable

    if problem := why_not_writable(folder):
        raise UserError(f"cannot write into {problem}. To write elsewhere, {remedy}")


def repeated_options(name: str | None, runs: Path, changes: Sequence[str] | None) -> list[object]:
    """The options ``--set``, ``--name`` and ``--runs`` of a command line that does the same again."""
    words: list[object] = [word for change in changes or () for word in ("--set", change)]
    return [*words, *(["--name", name] if name else []), *([] if runs == RUNS else ["--runs", runs])]


def folder_name(name: str) -> str:
    """Returns the name. Raises UserError if it cannot be the name of a folder under runs/."""
    from charlstm.config.sections import check_name
    from charlstm.errors import UserError

    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(f"the name {name!r}: {error}. Give another one: --name NAME") from None


def check_png(option: str, path: Path) -> None:
    """Raises UserError, before anything is computed, if a PNG file cannot be written there."""
    from charlstm.errors import UserError

    if path.suffix.lower() != ".png":
        raise UserError(f"{option} {path}: the chart is a PNG file: give it a name that ends in .png")
    if not paths.is_folder(path.parent):
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    check_writable(path.parent, f"name another file: {option} FILE.png")
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{option} {path}: cannot write it: {error.strerror}") from None
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path}: " + ("this is a folder" if path.is_dir() else "this is not a regular file"))
