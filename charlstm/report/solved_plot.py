"""A plot of how many seeds solve each length: a row for each arm and start, a column for each length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from charlstm.report.document import Figure
from charlstm.report.drawing import INK, MUTED, canvas, color, finish, placeholder_on_error, short, style
from charlstm.text.visible import visible

FAINTEST = 0.08
"""The opacity of a cell in which no seed solves the length."""


@placeholder_on_error
def solved_plot(
    columns: Sequence[str],
    rows: Mapping[str, Sequence[float]],
    seeds: int,
    colors: Mapping[str, int],
    name: str,
    title: str,
) -> Figure | None:
    """Plot the fraction of the seeds as the opacity of each cell, with their number; None if nothing was trained.

    Args:
        columns: names of the lengths, ascending.
        rows: for each arm or start, the fraction of its seeds that solve each length; NaN where it was not trained.
        seeds: the number of seeds.
        colors: each row's color number.
        name: the unique name of the figure.
        title: the title of the plot.
    """
    if all(math.isnan(fraction) for fractions in rows.values() for fraction in fractions):
        return None
    with style():
        figure, axes = canvas(0.9 + 0.3 * len(rows))
        descriptions = []
        for y, (row, fractions) in enumerate(rows.items()):
            for x, fraction in enumerate(fractions):
                is_trained = not math.isnan(fraction)
                if is_trained:
                    shade = FAINTEST + (0.75 - FAINTEST) * fraction
                    place, size = (x - 0.47, y - 0.43), (0.94, 0.86)
                    cell = Rectangle(place, *size, color=color(colors[row]), alpha=shade, linewidth=0)
                    axes.add_patch(cell)
                text = f"{round(fraction * seeds)}/{seeds}" if is_trained else "–"
                weight = "bold" if is_trained and fraction >= 0.5 else "normal"
                axes.text(x, y, text, ha="center", va="center", color=INK if is_trained else MUTED, fontweight=weight)
            shown = ", ".join(
                f"{'not trained' if math.isnan(one) else round(one * seeds)} at {column}"
                for column, one in zip(columns, fractions, strict=True)
            )
            descriptions.append(f"{visible(row)}: {shown}.")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), [visible(column) for column in columns], color=INK)
        axes.set_yticks(range(len(rows)), [short(row, 24) for row in rows], fontweight="bold")
        for row, label in zip(rows, axes.get_yticklabels(), strict=True):
            label.set_color(color(colors[row]))
        axes.xaxis.tick_top()
        axes.tick_params(axis="both", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(visible(title))
        alt = f"{visible(title)}, of {seeds} seeds. " + " ".join(descriptions)
        return finish(figure, name, alt, "–: not trained, since no seed learned the shorter lag.")
