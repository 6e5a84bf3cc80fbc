"""The command ``charlstm config``."""

from __future__ import annotations

from typing import Annotated

import typer


def config(
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema, with which editors check YAML while you type."),
    ] = False,
) -> None:
    """Print every field of a configuration with its type, default and meaning."""
    import textwrap

    from charlstm import console
    from charlstm.config import describe_fields, json_schema

    if schema:
        console.out_json(json_schema(), indent=2)
        return
    section = None
    for field in describe_fields():
        if field.section != section:
            section = field.section
            console.out(f"\n{section or 'top level'}")
        head = f"{field.name}: {field.type}  [{field.default}]"
        console.out(textwrap.fill(head, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
        console.out(textwrap.fill(field.documentation, 100, initial_indent="      ", subsequent_indent="      "))
