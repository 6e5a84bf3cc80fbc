"""A plot of how many seeds solve each length: a row for each arm and initialization, a column for each length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from charlstm.report.document import Figure
from charlstm.report.drawing import INK, MUTED, canvas, color, finish, placeholder_on_error, style
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

FAINTEST = 0.08
"""The opacity of a cell in which no seed solves the length."""

STRONGEST = 0.45
"""The opacity of a cell in which all do: its number is readable on every color, in both color schemes."""


@placeholder_on_error
def solved_plot(
    columns: Sequence[str],
    rows: Mapping[str, Sequence[tuple[int, int] | None]],
    colors: Mapping[str, int],
    name: str,
    title: str,
    missing: str = "not trained, since no seed learned the shorter lag",
) -> Figure | None:
    """Plot the fraction of the seeds as the opacity of each cell, with their number; None if there is nothing to show.

    Args:
        columns: names of the lengths, ascending.
        rows: for each arm or initialization, how many of its seeds solve each length, and of how many; None if missing.
        colors: each row's color number.
        name: the unique name of the figure.
        title: the title of the plot.
        missing: what a missing cell means.
    """
    if not any(cell for cells in rows.values() for cell in cells):
        return None
    with style():
        figure, axes = canvas(0.9 + 0.3 * len(rows))
        descriptions = []
        for y, (row, cells) in enumerate(rows.items()):
            for x, cell in enumerate(cells):
                if cell is None:
                    axes.text(x, y, "–", ha="center", va="center", color=MUTED)
                    continue
                solved, seeds = cell
                shade = FAINTEST + (STRONGEST - FAINTEST) * solved / seeds
                place, size = (x - 0.47, y - 0.43), (0.94, 0.86)
                axes.add_patch(Rectangle(place, *size, color=color(colors[row]), alpha=shade, linewidth=0))
                weight = "bold" if 2 * solved >= seeds else "normal"
                axes.text(x, y, f"{solved}/{seeds}", ha="center", va="center", color=INK, fontweight=weight)
            shown = ", ".join(
                f"{column}: {f'{cell[0]} of {cell[1]}' if cell else '–'}"
                for column, cell in zip(columns, cells, strict=True)
            )
            descriptions.append(f"{visible(row)}, {shown}.")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), [visible(column) for column in columns], color=INK)
        axes.set_yticks(range(len(rows)), list(distinct(rows, 24).values()), fontweight="bold")
        for row, label in zip(rows, axes.get_yticklabels(), strict=True):
            label.set_color(color(colors[row]))
        axes.xaxis.tick_top()
        axes.tick_params(axis="both", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(visible(title))
        is_missing = any(cell is None for cells in rows.values() for cell in cells)
        alt = f"{visible(title)}, numbers of seeds. " + " ".join(descriptions)
        caption = "Bold: at least half of the seeds." + (f" –: {missing}." if is_missing else "")
        return finish(figure, name, alt, caption)
