"""The command ``charlstm config``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel


def config(
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
) -> None:
    """Print every field of a configuration with its type, default and meaning."""
    from charlstm import console
    from charlstm.config import COMPARISON_MODELS, Config, json_schema

    if schema and compare:
        raise typer.BadParameter("give either --schema or --compare")
    if schema:
        console.out_json(json_schema(), indent=2)
        return
    for title, model in COMPARISON_MODELS.items() if compare else [("", Config)]:
        if title:
            console.out(f"\n{title}")
        for line in _described(model):
            console.out(line)


def _described(model: type[BaseModel]) -> Iterator[str]:
    """The lines that describe the fields of a section and of the sections in it."""
    import textwrap

    from charlstm.config import describe_fields

    section = None
    for field in describe_fields(model):
        if field.section != section:
            section = field.section
            yield f"\n{section or 'top level'}"
        head = f"{field.name}: {field.type}  [{field.default}]"
        yield textwrap.fill(head, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        yield textwrap.fill(field.documentation, 100, initial_indent="      ", subsequent_indent="      ")
