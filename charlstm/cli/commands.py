"""The commands. Each is imported and built when it is used: a command line that is refused costs no other command."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from charlstm.cli import guard

COMMANDS = (
    "train",
    "sample",
    "evaluate",
    "inspect",
    "novelty",
    "compare",
    "sweep",
    "runs",
    "plot",
    "export",
    "compress",
    "decompress",
    "init",
    "config",
    "corpus",
    "doctor",
    "bench",
)
"""In the order of ``charlstm --help``. A command is the function of this name in the module of this name."""
HELP = {"help_option_names": ["-h", "--help"]}
SENTENCE = 1000  # characters


class Commands(TyperGroup):
    """All commands. In the help, their list has the first sentence of each, however narrow the terminal."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _BuiltOnUse()  # type: ignore[assignment]  # nothing adds a command

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        helps = ((name, TyperCommand(name, help=inspect.getdoc(_function(name)))) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=SENTENCE)) for name, command in helps])

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with guard.broken_pipes():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any) -> Any:
        with guard.broken_pipes():
            return super().invoke(*args)


class _BuiltOnUse(Mapping[str, Any]):
    """The commands by name."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _build(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _build(name: str) -> Any:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, context_settings=HELP)(_function(name))
    return typer.main.get_command(app)


def _function(name: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(importlib.import_module(f"charlstm.cli.{name}"), name)
    return function
