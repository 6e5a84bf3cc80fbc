"""Plot of a counting unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from charlstm.report.axes import End, grid_lines, label_ends, label_layout, mark_positions
from charlstm.report.document import Figure
from charlstm.report.drawing import MUTED, canvas, color, finish, placeholder_on_error, style
from charlstm.report.labels import short
from charlstm.text.visible import visible


@placeholder_on_error
def count_plot(
    trajectory: Sequence[float],
    counts: Sequence[float],
    name: str,
    unit: str,
    boundaries: Mapping[str, float] | None = None,
    number: int = 0,
    title: str = "A counting unit",
) -> Figure | None:
    """Plot a unit's state along a text, together with the count in the text, scaled to fit the state.

    Args:
        trajectory: [T], the unit's state after each character.
        counts: [T], the count after each character, such as the number of a minus the number of b.
        name: the unique name of the figure.
        unit: the name of the unit, such as `c of unit 3`.
        boundaries: positions in the text to be marked, by their names.
        number: the color number of the arm.
        title: the title of the plot.
    """
    state, count = np.array(trajectory, dtype=np.float64), np.array(counts, dtype=np.float64)
    valid = np.isfinite(state) & np.isfinite(count)
    if not valid.any():
        return None
    with style():
        figure, axes = canvas()
        # Least-squares fit of a + b * count to the state: the state of a unit that counts exactly.
        basis = np.stack([np.ones_like(count), count], axis=1)
        fitted = basis @ np.linalg.lstsq(basis[valid], state[valid], rcond=None)[0]
        positions = np.arange(1, len(state) + 1)
        axes.plot(positions, fitted, color=MUTED, linewidth=7, alpha=0.3, solid_capstyle="butt")
        axes.plot(positions, state, color=color(number), linewidth=2)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0.01)
        grid_lines(axes)
        mark_positions(axes, boundaries or {})
        last = int(np.flatnonzero(valid)[-1])
        gap, _ = label_layout(2)
        label_ends(
            axes,
            [
                End(short(unit), color(number), positions[last], state[last]),
                End("the count, scaled", MUTED, positions[last], fitted[last]),
            ],
            gap,
        )
        axes.set_xlabel("characters read")
        axes.set_title(visible(title), pad=20 if boundaries else None)
        alt = (
            f"Line plot of the state of {visible(unit)} along {len(state)} characters, from {state[valid].min():.3g} "
            f"to {state[valid].max():.3g}, with a count from {count[valid].min():g} to {count[valid].max():g} that "
            f"is scaled to fit it; they differ by at most {np.abs(state - fitted)[valid].max():.3g}."
        )
        return finish(figure, name, alt, "Broad line: the count, shifted and scaled to fit the unit's state.")
