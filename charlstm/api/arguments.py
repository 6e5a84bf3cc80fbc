"""Arguments from Python, of the types that the functions expect. Each function raises UserError for other types."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from charlstm.errors import UserError


def whole_numbers(**arguments: SupportsIndex) -> tuple[int, ...]:
    """The arguments as int; each may be an integer of another library, such as NumPy."""
    numbers = []
    for name, value in arguments.items():
        try:
            numbers.append(operator.index(value))
        except TypeError:
            raise UserError(f"{name} must be a whole number, found {value!r}") from None
    return tuple(numbers)


def check_text(name: str, text: object) -> None:
    """The argument is a text, as str or bytes."""
    if not isinstance(text, str | bytes):
        raise UserError(f"{name} must be a text, as str or bytes, found {text!r:.60}")
