"""A problem of a configuration, and the formatting of values in messages."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """The location and the message of one problem."""

    loc: Loc
    message: str


def as_one_error(problems: Sequence[Problem]) -> PydanticCustomError:
    """Several problems as the single error that a validator may raise; `problems_of` separates them again."""
    text = "; ".join(f"{dotted(problem.loc)}: {problem.message}" for problem in problems)
    return PydanticCustomError("charlstm_problems", "{text}", {"text": text, "problems": tuple(problems)})


def dotted(loc: Sequence[str | int]) -> str:
    """``("corpus", "source", 0)`` as ``corpus.source.0``, safe to print."""
    return ".".join(printable(str(part)) for part in loc)


def printable(text: str, limit: int = 60) -> str:
    """`text` on one line, control characters escaped, truncated at `limit` characters."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[:limit] + "..."


def format_value(value: object) -> str:
    """A value as it appears in messages."""
    if isinstance(value, str):
        return '"' + printable(value) + '"'
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**50:
        return "a number of over 50 digits"
    return printable(repr(value))
