"""How much predictions depend on earlier characters, by their distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from charlstm.report.axes import End, grid_lines, label_ends, labeled_canvas, log_ticks
from charlstm.report.document import Figure
from charlstm.report.drawing import color, finish, placeholder_on_error, stroke, style
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

FLOOR = 1e-3
"""Bits; what is below is drawn there."""


@placeholder_on_error
def influence_plot(
    curves: Mapping[str, Sequence[float]], colors: Mapping[str, int], name: str, over: str = "the text"
) -> Figure | None:
    """Plot the mean change of the surprise, in bits, if the character k places before is replaced, against k.

    Both axes are logarithmic; values below 0.001 bits, also negative ones, are drawn at the lower edge.

    Args:
        curves: for each run, the means at k = 1, 2, ...
        colors: each run's color number.
        name: the unique name of the figure.
        over: what the means are over.
    """
    drawn = {run: np.maximum(np.array(curve), FLOOR) for run, curve in curves.items() if len(curve)}
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, labels = [], [], distinct(drawn)
        for run, curve in drawn.items():
            marker = "o" if len(curve) == 1 else None
            axes.plot(range(1, len(curve) + 1), curve, linewidth=2.0, marker=marker, **stroke(colors[run]))
            ends.append(End(labels[run], color(colors[run]), len(curve), float(curve[-1])))
            shown = [k for k in (1, 5, 10, 20, 50) if k <= len(curve)]
            descriptions.append(f"{visible(run)}: " + ", ".join(f"{curve[k - 1]:.3f} at {k}" for k in shown) + ".")
        axes.set_xscale("log")
        axes.set_xlim(1 / 1.06, max(map(len, drawn.values())) * 1.06)
        axes.set_yscale("log")
        log_ticks(axes.xaxis)
        log_ticks(axes.yaxis)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" + (" or less" if value < 1.01 * FLOOR else ""))
        grid_lines(axes)
        axes.set_xlabel("characters back")
        axes.set_ylabel("bits")
        axes.set_title("If an earlier character is replaced")
        label_ends(axes, ends, gap)
        alt = "Line plot, both axes logarithmic, of the bits by which the surprise grows if a character is replaced. "
        return finish(figure, name, alt + " ".join(descriptions), f"Mean over {over}.")
