"""Options that several commands check alike."""

from __future__ import annotations

import typer


def one_of(option: str, value: str, *allowed: str) -> str:
    """The value, if it is allowed; else a usage error."""
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of: {', '.join(allowed)}", param_hint=option)
    return value


def given_of(context: typer.Context, *names: str) -> list[str]:
    """Those of the parameters that were given on the command line, as options."""
    found = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    return ["--" + name.replace("_", "-") for name in found]
