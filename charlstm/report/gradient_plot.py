"""The gradient of a loss with respect to earlier inputs, by their distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from charlstm.report.axes import End, gradient_axis, grid_lines, label_ends, labeled_canvas
from charlstm.report.document import Figure
from charlstm.report.drawing import color, finish, placeholder_on_error, style
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

FLOOR = 1e-12
"""Of the largest value: what is smaller is not drawn."""


@placeholder_on_error
def gradient_plot(
    curves: Mapping[str, Sequence[float]],
    untrained: Mapping[str, Sequence[float]],
    colors: Mapping[str, int],
    name: str,
) -> Figure | None:
    """Plot the mean norm of d(-ln p_t) / d x_{t-k} against k, on a logarithmic axis.

    Args:
        curves: for each run, the means at k = 1, 2, ...
        untrained: the same of the networks before training, dashed; empty if it is not known.
        colors: each run's color number.
        name: the unique name of the figure.
    """
    values = np.array([value for by_run in (curves, untrained) for curve in by_run.values() for value in curve])
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return None
    floor = FLOOR * positive.max()

    def shown(curve: Sequence[float]) -> npt.NDArray[np.float64]:
        array = np.array(curve, np.float64)
        return np.where(array >= floor, array, np.nan)

    with style():
        figure, axes, gap = labeled_canvas(len(curves))
        ends, descriptions, labels = [], [], distinct(curves)
        for run, curve in curves.items():
            drawn = shown(curve)
            before = shown(untrained.get(run, ()))
            axes.plot(range(1, len(before) + 1), before, "--", linewidth=1.2, color=color(colors[run]))
            axes.plot(range(1, len(drawn) + 1), drawn, "-", linewidth=2.0, color=color(colors[run]))
            if not np.isfinite(drawn).any():
                continue
            last = int(np.flatnonzero(np.isfinite(drawn))[-1])
            ends.append(End(labels[run], color(colors[run]), last + 1, float(drawn[last])))
            points = ", ".join(f"{curve[k - 1]:.2g} at {k}" for k in (1, 5, 10, 20, 50) if k <= len(curve))
            descriptions.append(f"{visible(run)}: {points}.")
        gradient_axis(axes, max(positive.min(), floor), positive.max())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        grid_lines(axes)
        axes.set_xlabel("characters back, k")
        axes.set_ylabel("nats per unit of x")
        is_known = any(untrained.values())
        axes.set_title(f"Gradient over the lag{' (dashed: at initialization)' * is_known}")
        label_ends(axes, ends, gap)
        caption = (
            "Mean norm of the gradient of -ln p of a character with respect to x, the input vector of the first layer, "
            "k characters before, in nats per unit of x. A straight line is an exponential decay. The height depends "
            "on the size of x, the slope does not."
        )
        if is_known:
            caption += " Dashed: the network at initialization, on the beginning of the text."
        alt = "Line plot of the norm of the gradient, logarithmic, against the lag in characters. "
        return finish(figure, name, alt + " ".join(descriptions), caption)
