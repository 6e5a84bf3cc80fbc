"""A text colored by a value of each character."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as MplFigure
from numpy.typing import ArrayLike

from charlstm.report.document import Figure
from charlstm.report.drawing import INK, MUTED, WIDTH, finish, font_families, placeholder_on_error, style
from charlstm.text.visible import visible

COLUMNS, CELL = 96, 0.084
"""Characters in a row, and the width of a character in inches."""
SIGNS = {" ": " ", "\n": "↵", "\t": "→", "\r": "↩"}
COLORS = LinearSegmentedColormap.from_list("state", ["#4d9ad6", "#ffffff", "#f7943b"])
"""Blue for negative, orange for positive values, which people with any color vision can tell apart."""


@placeholder_on_error
def text_map(values: ArrayLike, symbols: Sequence[str], name: str, title: str) -> Figure:
    """Draw a text in rows, each character on the color of its value.

    Args:
        values: [T]; the largest absolute value has the strongest color, blue if negative, else orange.
        symbols: the T characters.
        name: the unique name of the figure.
        title: the title of the plot.

    Raises:
        ValueError: the number of values is not that of characters.
    """
    colors = np.array(values, dtype=np.float64)
    if colors.shape != (len(symbols),):
        raise ValueError(f"expected one value per character, got values {colors.shape} for {len(symbols)} characters")
    largest = float(np.abs(colors).max(initial=0))
    rows = _rows(symbols)
    columns = max((end - begin for begin, end in rows), default=1)
    grid = np.full((len(rows), columns), math.nan)
    for row, (begin, end) in enumerate(rows):
        grid[row, : end - begin] = colors[begin:end]
    with style():
        figure = MplFigure(figsize=(max(WIDTH, columns * CELL + 0.2), 0.55 + 0.21 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        family = font_families("DejaVu Sans Mono")
        axes.imshow(grid, cmap=COLORS, vmin=-(largest or 1), vmax=largest or 1, aspect="auto", interpolation="none")
        for row, (begin, end) in enumerate(rows):
            for column, symbol in enumerate(symbols[begin:end]):
                shown = SIGNS.get(symbol) or (symbol if symbol.isprintable() else "□")
                axes.text(
                    column, row, shown, ha="center", va="center", family=family, fontsize=9.5,
                    color=MUTED if symbol in SIGNS else INK, parse_math=False,
                )  # fmt: skip
        axes.set_title(visible(title))
        axes.set_axis_off()
        text = visible("".join(symbols))
        alt = (
            f"Text colored by a value from {-largest:.2f} (blue) to {largest:.2f} (orange): {visible(title)}. {text!r}"
        )
        return finish(figure, name, alt, f"Blue is negative, orange positive; the strongest color is {largest:.2f}.")


def _rows(symbols: Sequence[str]) -> list[tuple[int, int]]:
    """The first position and the last one + 1 of each row: it ends with a newline, or where it is full."""
    rows, begin = list[tuple[int, int]](), 0
    for position, symbol in enumerate(symbols, start=1):
        if symbol == "\n" or position - begin == COLUMNS:
            rows.append((begin, position))
            begin = position
    return [*rows, (begin, len(symbols))] if begin < len(symbols) else rows
