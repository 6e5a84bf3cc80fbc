"""Plain data with line numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charlstm.config.wording import Loc, Problem


@dataclass(frozen=True)
class Document:
    """Plain data from a file or from Python, with line numbers.

    `lines` maps a path (``("model", "cell")``, list items by index) to its line, from 1. `problems` are the problems
    of the YAML, with their lines (a duplicate key, an anchor); `charlstm.config.validate` reports them with its own.
    """

    name: str
    data: Any
    lines: dict[Loc, int] = field(default_factory=dict)
    problems: tuple[tuple[int, Problem], ...] = ()
