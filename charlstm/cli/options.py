"""Options that several commands check alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charlstm.paths import expanded

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


def home_expanded(given: Any) -> Any:
    """Callback of every parameter that is a path: the shell leaves ``~`` as it is in ``--runs=~/r``."""
    if isinstance(given, Path):
        return expanded(given)
    return given if given is None else [expanded(path) for path in given]


def one_of(option: str, value: str, *allowed: str) -> str:
    """The value, if it is allowed; else a usage error."""
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of: {', '.join(allowed)}", param_hint=option)
    return value


def given_of(context: typer.Context, *names: str) -> list[str]:
    """Those of the parameters that were given on the command line, as options."""
    found = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    return ["--" + name.strip("_").replace("_", "-") for name in found]


def refuse(context: typer.Context, why: str, *names: str) -> None:
    """Raises UserError if one of these options was given: it has no effect, and ``why`` says beside what."""
    from charlstm.errors import UserError

    if without := given_of(context, *names):
        raise UserError(f"{without[0]} has no effect {why}")


def load_run(context: typer.Context, run: Path, checkpoint: str, device: str) -> LoadedRun:
    """The run of a command that takes ``--checkpoint`` and ``--device``. Raises UserError."""
    from charlstm.api import load
    from charlstm.paths import is_folder

    one_of("--checkpoint", checkpoint, "best", "last")
    if not is_folder(run):
        refuse(context, "with the file of one checkpoint", "checkpoint")
    return load(run, checkpoint, device)


def goes_on(overwrite: bool) -> str:
    """What to say of a comparison that was interrupted: what was to be overwritten is deleted by then."""
    return f"saved; the same command{' without --overwrite' if overwrite else ''} goes on from here"
