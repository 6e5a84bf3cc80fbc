"""Finds the run that a user names: by its path, by its name in the folder of runs, or as the latest one.

Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charlstm.checkpoints.format import WEIGHTS_FILE
from charlstm.config.misplaced import SUFFIXES
from charlstm.config.ready import command_of
from charlstm.errors import UserError
from charlstm.paths import RUNS, command, expand_home, is_folder, path_exists
from charlstm.runs.contents import content_of
from charlstm.runs.listing import run_folders, trained_at
from charlstm.runs.naming import CHECKPOINTS
from charlstm.spelling import near

LATEST = "latest"


def find_run(given: Path, runs: Path = RUNS) -> Path:
    """The folder of a run, or the file of a checkpoint.

    An existing path comes first, except that a run of this name in the folder ``runs`` precedes a folder that is not a
    run; then a folder of this name in ``runs``, such as that of a comparison; then the only run of this name anywhere
    in the folder of a comparison, as COMPARISON/RUN; then, for ``latest``, the run that was trained last.

    Raises UserError, with the most similar name, if there is no such run.
    """
    named = runs / given
    if path_exists(given) and not is_folder(given) and given.suffix in SUFFIXES:
        raise UserError(f"{given} is a configuration, not a run. To use it:  {command(command_of(given), given)}")
    if path_exists(given) and (_is_run(given) or not (is_folder(given) and _is_run(named))):
        return given
    if is_folder(named):
        return named
    inner = [path for path in _inner_runs(given, runs) if path.name == given.name]
    if len(inner) > 1:
        raise UserError(f"{given}: several runs have this name: {', '.join(map(str, inner))}")
    if inner:
        return inner[0]
    names = run_names(runs) if is_folder(runs) else []
    if str(given) == LATEST and names:
        return runs / names[0]
    raise UserError(_no_run(given, runs, names))


def find_weights(given: str | Path, runs: Path = RUNS) -> Path:
    """The folder of a run, as :func:`find_run` finds it, or the file of a checkpoint, which may be in a folder exported
    for model hubs; ``~`` is the home directory."""
    path = expand_home(given)
    file = path / WEIGHTS_FILE
    return find_run(file if is_folder(path) and not _is_run(path) and path_exists(file) else path, runs)


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """The names of runs that are shown side by side: those of their folders, or where two have the same, their paths.

    Raises UserError if a run is given twice.
    """
    if len({path.resolve() for path in runs}) < len(runs):
        raise UserError("the same run is named twice: name each run once")
    names = [path.resolve().name for path in runs]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, runs, strict=True)]


def home_folder(found: Path) -> Path:
    """The folder for what is written about a run that :func:`find_run` has found: the run's, or that of a file that is
    no checkpoint in a run."""
    if is_folder(found):
        return found
    run = found.parent.parent
    return run if found.parent.name == CHECKPOINTS and _is_run(run) else found.parent


def find_initial_run(given: str, runs: Path = RUNS) -> Path:
    """What :func:`find_weights` finds for ``training.initial_run``. Raises UserError with the name of this field."""
    try:
        return find_weights(given, runs)
    except UserError as problem:
        raise UserError(f"training.initial_run: {problem}") from None


def run_names(runs: Path, is_deep: bool = False) -> list[str]:
    """The names of the runs in a folder, the one trained last first. Raises UserError if the folder cannot be read."""
    folders = sorted(run_folders(runs, is_deep), key=trained_at, reverse=True)
    return [folder.relative_to(runs).as_posix() for folder in folders]


def _is_run(path: Path) -> bool:
    return is_folder(path) and path_exists(path / "config.yaml")


def _inner_runs(given: Path, runs: Path) -> list[Path]:
    """The runs in the folder that a name as COMPARISON/RUN begins with, in that of a comparison at any depth."""
    folders = [] if given.parent == Path() else [given.parent, runs / given.parent]
    folder = next(filter(is_folder, folders), None)
    return [] if folder is None else list(run_folders(folder, is_deep=content_of(folder) is not None))


def _no_run(given: Path, runs: Path, names: list[str]) -> str:
    message = f"{given}: there is no such run or checkpoint"
    parent = given.parent
    elsewhere = parent not in (Path(), runs)
    if elsewhere:
        siblings = parent.iterdir() if is_folder(parent) else ()
        files = [path.name for path in siblings if path.suffix == given.suffix != "" and not is_folder(path)]
        names = sorted({*files, *(path.name for path in _inner_runs(given, runs))})
    if not names:
        return f"{message}. Train one: charlstm train CONFIG"
    match = near(given.name, names)
    suggestion = f"Did you mean {match if parent == Path() else parent / match}? " if match else ""
    if elsewhere:
        return f"{message}. {suggestion}Runs there: {', '.join(str(parent / name) for name in names[:8])}"
    return f"{message}. {suggestion}To list the runs:  {_list_command(runs)}"


def _list_command(runs: Path) -> str:
    return command("runs", *([] if runs == RUNS else ["--runs", runs]))
