"""A configuration as YAML in which a comment explains each field."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from charlstm.config.fields import describe_fields

WIDTH = 100


def commented_yaml(data: Mapping[str, Any], schema: str, heading: Iterable[str]) -> str:
    """A configuration, given as plain data, with the first sentence of the documentation above each field.

    Args:
        schema: the path or address of the JSON Schema, for editors.
        heading: lines of the comment at the top.
    """
    from charlstm.config import as_yaml

    documentation = {field.path: field.documentation for field in describe_fields()}
    lines = [f"# yaml-language-server: $schema={schema}", *(f"# {line}" for line in heading)]

    def add(section: Mapping[str, Any], prefix: str, indent: str) -> None:
        for name, value in section.items():
            path = f"{prefix}{name}"
            if path in documentation:
                comment = re.split(r"(?<=[.:;]) ", documentation[path], maxsplit=1)[0].rstrip(".:;")
                lines.extend(
                    textwrap.wrap(comment, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
                )
            if isinstance(value, Mapping):
                lines.append(f"{indent}{name}:")
                add(value, f"{path}.", f"{indent}  ")
            else:
                lines.append(f"{indent}{name}: {as_yaml(value)}")

    add(data, "", "")
    return "\n".join(lines) + "\n"
