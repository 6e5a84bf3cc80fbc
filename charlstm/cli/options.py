"""Checks of options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charlstm import paths

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


def expand_home(given: Any) -> Any:
    """Callback of every path parameter: the shell does not expand ``~`` in ``--runs=~/r``."""
    if isinstance(given, Path):
        return paths.expand_home(given)
    return given if given is None else [paths.expand_home(path) for path in given]


def check_choice(option: str, value: str, *allowed: str) -> str:
    """Returns the value. Raises BadParameter, a usage error, if it is not allowed."""
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of: {', '.join(allowed)}", param_hint=option)
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


def load_run(context: typer.Context, run: Path, checkpoint: str, device: str) -> LoadedRun:
    """Load the run for a command with ``--checkpoint`` and ``--device``. Raises UserError."""
    from charlstm.api import load
    from charlstm.paths import is_folder

    check_choice("--checkpoint", checkpoint, "best", "last")
    if not is_folder(run):
        refuse(context, "with the file of one checkpoint", "checkpoint")
    return load(run, checkpoint, device)


def resume_hint(overwrite: bool) -> str:
    """The message of an interrupted comparison; what ``--overwrite`` deletes is already deleted."""
    return f"saved; to resume, run the same command{' without --overwrite' if overwrite else ' again'}"


def folder_name(name: str) -> str:
    """Returns the name. Raises UserError if it cannot be the name of a folder under runs/."""
    from charlstm.config.sections import check_name
    from charlstm.errors import UserError

    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(f"the name {name!r}: {error}. Give another one: --name NAME") from None
