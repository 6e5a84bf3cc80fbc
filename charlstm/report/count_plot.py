"""The plot of a unit that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from charlstm.report.axes import End, label_ends, label_room, mark_places, ruled
from charlstm.report.document import Figure
from charlstm.report.drawing import MUTED, canvas, colour, finish, picture, short, style
from charlstm.text.visible import visible


@picture
def count_plot(
    trajectory: Sequence[float],
    counts: Sequence[float],
    name: str,
    unit: str,
    boundaries: Mapping[str, float] | None = None,
    number: int = 0,
    title: str = "A unit that counts",
) -> Figure | None:
    """A unit's state along a text, over the count that the text stands at, scaled to fit it.

    Args:
        trajectory: [T], the unit's state after each character.
        counts: [T], the count after each character, such as how many more a than b were read.
        name: the figure's name, unlike every other's.
        unit: what the unit is called, such as `c of unit 3`.
        boundaries: places in the text to be marked, by their names.
        number: the colour number of the arm that is shown.
        title: stands above the plot.
    """
    state, count = np.array(trajectory, dtype=np.float64), np.array(counts, dtype=np.float64)
    seen = np.isfinite(state) & np.isfinite(count)
    if not seen.any():
        return None
    with style():
        figure, axes = canvas()
        # The line a + b * count nearest to the state (least squares): what the unit would be if it counted.
        basis = np.stack([np.ones_like(count), count], axis=1)
        fitted = basis @ np.linalg.lstsq(basis[seen], state[seen], rcond=None)[0]
        places = np.arange(1, len(state) + 1)
        axes.plot(places, fitted, color=MUTED, linewidth=7, alpha=0.3, solid_capstyle="butt")
        axes.plot(places, state, color=colour(number), linewidth=2)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0.01)
        ruled(axes)
        mark_places(axes, boundaries or {})
        last = int(np.flatnonzero(seen)[-1])
        gap, _ = label_room(2)
        label_ends(
            axes,
            [
                End(short(unit), colour(number), places[last], state[last]),
                End("the count, scaled", MUTED, places[last], fitted[last]),
            ],
            gap,
        )
        axes.set_xlabel("characters read")
        axes.set_title(visible(title), pad=20 if boundaries else None)
        alt = (
            f"Line plot of the state of {visible(unit)} along {len(state)} characters, from {state[seen].min():.3g} to "
            f"{state[seen].max():.3g}, over a count from {count[seen].min():g} to {count[seen].max():g} that is scaled "
            f"to fit it; they differ by at most {np.abs(state - fitted)[seen].max():.3g}."
        )
        return finish(figure, name, alt, "Broad: the count, shifted and scaled to lie nearest to the unit.")
