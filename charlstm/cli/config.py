"""The command ``charlstm config``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import check_choice, expand_home

if TYPE_CHECKING:
    from pydantic import BaseModel

WIDTH = 100
ACTIONS = ("list", "show", "copy")


def config(
    action: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.words(*ACTIONS),
            help="list: the ready configurations; show NAME: print one; copy NAME [FILE]: write one into a file. "
            "Without an action, the fields are printed.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Argument(help="The name of a ready configuration.")] = None,
    file: Annotated[
        Path | None, typer.Argument(callback=expand_home, help="The file to write. Default: NAME.yaml here.")
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema, with which editors check YAML while you type."),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Print the fields of a comparison file: of arms on one text, then of experiments on memory. An arm is "
            "one line, for any cell: `gru: {model: {cell: gru}}`.",
        ),
    ] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Print the fields of a sweep file.")] = False,
) -> None:
    """Print every field of a configuration with its type, default and meaning; or the ready configurations.

    For example: charlstm config copy tinyshakespeare my.yaml. A ready configuration can also be trained by its name.
    """
    from charlstm import console
    from charlstm.config import COMPARISON_MODELS, SWEEP_MODELS, Config, json_schema

    if schema + compare + sweep > 1:
        raise typer.BadParameter("give only one of --schema, --compare and --sweep")
    if action is not None:
        _ready(check_choice("action", action, *ACTIONS), name, file, schema or compare or sweep)
        return
    if schema:
        console.out_json(json_schema(), indent=2)
        return
    width = min(console.width() or WIDTH, WIDTH)
    models = COMPARISON_MODELS if compare else SWEEP_MODELS if sweep else {"": Config}
    for title, model in models.items():
        if title:
            console.out(f"\n{title}")
        for line in _described(model, width):
            console.out(line)


def _ready(action: str, name: str | None, file: Path | None, with_options: bool) -> None:
    """List, print or copy ready configurations."""
    from charlstm import atomic_io, console
    from charlstm.config.ready import command_of, ready_config, ready_configs, summary
    from charlstm.errors import UserError
    from charlstm.paths import command, path_exists

    if with_options:
        raise UserError(
            f"--schema, --compare and --sweep are about fields, not about ready configurations: leave out {action}"
        )
    if action == "list":
        if name is not None:
            raise UserError(f"list takes no name. To print one:  {command('config', 'show', name)}")
        rows = [[known, command_of(path), summary(path)] for known, path in ready_configs().items()]
        console.table([["name", "command", "what it shows"], *rows], prose=True)
        return
    if name is None:
        raise UserError(f"{action} needs the name of a ready configuration:  charlstm config list")
    content = (source := ready_config(name)).read_bytes()
    if action == "show":
        if file is not None:
            raise UserError(
                f"show prints to standard output. To write a file:  {command('config', 'copy', name, file)}"
            )
        console.out(content.decode(), end="")
        return
    target = file or Path(f"{name}.yaml")
    if path_exists(target):
        raise UserError(f"{target} exists. Give another file:  charlstm config copy {name} FILE")
    try:
        atomic_io.write_atomic(target, content)
    except OSError as error:
        raise UserError(f"{target}: cannot write it: {error.strerror or error}") from None
    console.out(f"wrote {target}")
    console.out(f"next:   {command(command_of(source), target)}")


def _described(model: type[BaseModel], width: int) -> Iterator[str]:
    """The lines that describe the fields of a section and of the sections in it."""
    import textwrap

    from charlstm.config import describe_fields

    section = None
    for field in describe_fields(model):
        if field.section != section:
            section = field.section
            yield f"\n{section or 'top level'}"
        head = f"{field.name}: {field.type}  [{field.default}]"
        yield textwrap.fill(head, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        yield textwrap.fill(field.documentation, width, initial_indent="      ", subsequent_indent="      ")
