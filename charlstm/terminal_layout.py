"""Layout for the width of a terminal: tables, lines of parts, sentences and sparklines. Numbers are never broken."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TextIO

WIDE = 200
"""Columns where there is no terminal."""
LONGEST = 14
"""Columns of a part of a word that is not broken, and of a line that is not wrapped; longer ones are if need be."""
GAP = 3
"""Columns of the terminal between two columns of a table."""
EIGHTHS = " ▏▎▍▌▋▊▉"
BLOCKS, ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.-'"
_NUMBER = r"[-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?%?"
_ATOM = re.compile(rf"{_NUMBER}|.", re.DOTALL)
_SEGMENT = re.compile(rf"(?:{_NUMBER}|[^-/_])+[-/_]*|[-/_]+", re.DOTALL)


def columns(terminal: TextIO) -> int:
    """The width of a terminal; if it does not know that, the environment variable COLUMNS."""
    unknown = 80
    try:
        if width := os.get_terminal_size(terminal.fileno()).columns:
            return width
    except (OSError, ValueError):  # no device is behind the stream
        unknown = WIDE
    return shutil.get_terminal_size((unknown, 0)).columns


def text_width(text: str) -> int:
    """The columns of a terminal that a line takes: 2 for a Chinese character, 0 for a combining accent."""
    from rich.cells import cell_len

    return cell_len(text)


@dataclass(frozen=True)
class Part:
    """A part of a line, with the space before it. On a narrow terminal those of the highest rank are left out first;
    those of rank 0 stay."""

    text: str
    rank: int = 0


def fit_parts(parts: Sequence[Part], width: int) -> str:
    """The parts in one line of at most this width. If those of rank 0 are too long, the last words are left out."""
    kept = list(parts)
    while text_width(line := join_parts(kept)) > width and (rank := max((part.rank for part in kept), default=0)):
        del kept[max(index for index, part in enumerate(kept) if part.rank == rank)]
        if kept[:1] != list(parts[:1]):  # the space before the new first part
            kept[0] = replace(kept[0], text=kept[0].text.lstrip(" "))
    while text_width(line) > width and (shorter := line.rpartition(" ")[0].rstrip(" ")):
        line = shorter
    return line


def join_parts(parts: Sequence[Part]) -> str:
    """All parts in one line."""
    return "".join(part.text for part in parts).rstrip(" ")


def fit_table(
    rows: Sequence[Sequence[str]],
    width: int,
    optional: Sequence[str] = (),
) -> tuple[list[list[str]], list[str]]:
    """Fit a table into a width: wrap its cells at spaces, then break long words, then leave out columns. Those in
    ``optional`` are left out before a word of the first column, such as a name that a user may copy, is broken.

    Args:
        rows: the cells, header first; a cell may have several lines.
        optional: headers of the columns that are left out first, in this order; then the last columns are. The first
            column and one more always stay.

    In the columns that stay, only numbers are not broken, so that the table can be too wide.

    Returns the rows, and the headers of the columns that are left out.
    """
    columns = [list(cells) for cells in zip(*rows, strict=True)]
    omitted: list[str] = []

    def excess(widths: Sequence[int]) -> int:
        return sum(widths) + GAP * (len(widths) - 1) - width

    if excess([_width(column) for column in columns]) <= 0:
        return [list(row) for row in rows], []

    def lowest_widths(breaks_words: bool) -> list[int]:
        first, *others = (_lowest_width(column) for column in columns)
        return [first if breaks_words else max(first, _longest_word(columns[0])), *others]

    while len(columns) > 2:
        headers = [column[0] for column in columns]
        candidates = [headers.index(name) for name in optional if name in headers[1:]]
        if excess(lowest_widths(breaks_words=not candidates)) <= 0:
            break
        omitted.append(columns.pop(candidates[0] if candidates else -1)[0])
    lowest = lowest_widths(breaks_words=False)
    if excess(lowest) > 0:
        lowest = lowest_widths(breaks_words=True)
    if excess(lowest) > 0:
        lowest = [max(_longest_number(cell) for cell in column) for column in columns]
    widths = [_width(column) for column in columns]
    while excess(widths) > 0:
        shrinkable = [index for index, each in enumerate(widths) if each > lowest[index]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    wrapped = [["\n".join(wrap(cell, wide)) for cell in column] for column, wide in zip(columns, widths, strict=True)]
    return [list(row) for row in zip(*wrapped, strict=True)], omitted


def _width(column: Sequence[str]) -> int:
    return max(text_width(line) for cell in column for line in cell.split("\n"))


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text, wrapped at spaces, with an indent of continued lines. A longer word is broken after a
    hyphen, slash or underscore, or anywhere but inside a number."""
    lines: list[str] = []
    for given in text.split("\n"):
        line = None
        for word in [given] if text_width(given) <= width else given.split(" "):
            if line is not None and text_width(f"{line} {word}") <= width:
                line = f"{line} {word}"
                continue
            pieces = [word] if line is None and text_width(word) <= width else _break(word, width - len(indent))
            for piece in pieces:
                if line is not None:
                    lines.append(line.rstrip(" "))
                line = piece if line is None else indent + piece
        lines.append(line or "")
    return lines


def _break(word: str, width: int) -> list[str]:
    lines = [""]
    for segment in _SEGMENT.findall(word):
        pieces = [segment] if text_width(segment) <= width else _ATOM.findall(segment)
        for piece in pieces:
            if lines[-1] and text_width(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
    return lines


def _longest_word(column: Sequence[str]) -> int:
    return max((text_width(word) for cell in column for word in cell.split()), default=0)


def _lowest_width(column: Sequence[str]) -> int:
    """The width below which short words would be broken, or lines below the header would be shorter than `LONGEST`."""
    lines = [line for cell in column[1:] for line in cell.split("\n")]
    words = [segment for cell in column for word in cell.split() for segment in _SEGMENT.findall(word)]
    numbers = max(_longest_number(cell) for cell in column)
    return max([numbers, *(min(text_width(part), LONGEST) for part in (*lines, *words))])


def _longest_number(text: str) -> int:
    """At least 1, the width of a single character."""
    return max((text_width(atom) for atom in _ATOM.findall(text)), default=1)


def bar(fraction: float, width: int, block: str = "█", parts: str = EIGHTHS) -> str:
    """A bar of this fraction of the width, padded to the width. ``parts``: an empty character and parts of a block."""
    blocks, rest = divmod(round(fraction * width * len(parts)), len(parts))
    return (block * blocks + parts[rest] * (rest > 0)).ljust(width)


def sparkline(values: Sequence[float], width: int, levels: str = BLOCKS) -> str:
    """The values as bars from the lowest to the highest one, in at most this many characters, each the mean of its part
    of the values. Values that are not finite are highest."""
    count = min(len(values), width)
    bounds = [len(values) * index // count for index in range(count + 1)] if count else [0]
    means = [sum(values[start:stop]) / (stop - start) for start, stop in pairwise(bounds)]
    known = [mean for mean in means if math.isfinite(mean)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)

    def level(mean: float) -> int:
        if not math.isfinite(mean):
            return len(levels) - 1
        return min(int((mean - low) / span * len(levels)), len(levels) - 1) if span else 0

    return "".join(levels[level(mean)] for mean in means)
