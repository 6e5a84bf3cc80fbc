"""Rows of text on a terminal: words wrapped by the width of their characters, control characters escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from charlstm.terminal_layout import text_width
from charlstm.text.visible import visible

TAB = " " * 4
ELLIPSIS = "..."
SEPARATOR = "  "


class Cell(NamedTuple):
    """A character as it is printed, and the columns that it takes: 2 for Chinese, 0 for a combining accent."""

    text: str
    width: int
    dim: bool


class Rows(NamedTuple):
    """Rows of cells, and the cursor as (row, column)."""

    rows: list[list[Cell]]
    cursor: tuple[int, int]


def wrap(text: str, suggestion: str, columns: int, encodable: Callable[[str], str]) -> Rows:
    """A text and, dim, what may follow it, in rows of at most ``columns``; the cursor is between the two.

    A row ends at the last space that fits, or else anywhere. ``encodable`` replaces what the terminal cannot print.
    """
    rows: list[list[Cell]] = [[]]
    used, start = 0, None
    for number, character in enumerate(text + suggestion):
        dim = number >= len(text)
        cell = Cell("", 0, dim) if character == "\n" else _cell(character, dim, encodable)
        if used + cell.width > columns:
            if character == " ":
                cell = Cell("", 0, dim)  # at the end of a row
                rows.append([])
            else:
                rows.append(_last_word(rows[-1]))
            used = _width(rows[-1])
            if used + cell.width > columns:  # the word alone is too long for a row
                rows.append([])
                used = 0
        rows[-1].append(cell)
        used += cell.width
        if dim and start is None:
            start = cell
        if character == "\n":
            rows.append([])
            used = 0
    return Rows(rows, _position(rows, start, columns))


def _cell(character: str, dim: bool, encodable: Callable[[str], str]) -> Cell:
    printed = TAB if character == "\t" else encodable(visible(character))
    return Cell(printed, text_width(printed), dim)


def _last_word(row: list[Cell]) -> list[Cell]:
    """Remove the word at the end of a full row and return it; nothing if the row is one word."""
    for number in range(len(row) - 1, -1, -1):
        if row[number].text == " ":
            word = row[number + 1 :]
            del row[number + 1 :]
            return word
    return []


def _position(rows: list[list[Cell]], start: Cell | None, columns: int) -> tuple[int, int]:
    """Where the cell ``start`` is; without one, after the last cell."""
    if start is not None:
        for number, row in enumerate(rows):
            for index, cell in enumerate(row):
                if cell is start:
                    return number, min(_width(row[:index]), columns - 1)
    if _width(rows[-1]) >= columns:
        rows.append([])
    return len(rows) - 1, _width(rows[-1])


def _width(row: Iterable[Cell]) -> int:
    return sum(cell.width for cell in row)


def fitting(parts: Iterable[str], columns: int) -> list[str]:
    """As many of these parts, from the first, as fit into one row, with SEPARATOR between them."""
    result, used = list[str](), 0
    for part in parts:
        used += text_width(part) + (len(SEPARATOR) if result else 0)
        if used > columns:
            break
        result.append(part)
    return result


def cut(text: str, columns: int) -> str:
    """A text of one row, cut if it does not fit."""
    if text_width(text) <= columns:
        return text
    end = len(text)
    while end and text_width(text[:end]) > columns - len(ELLIPSIS):
        end -= 1
    return text[:end] + ELLIPSIS[:columns]
