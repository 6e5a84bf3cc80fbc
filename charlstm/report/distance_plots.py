"""Plots of accuracy, gradient and loss against a distance in characters.

A missing measurement is NaN and a gap in its curve. The functions return None if there are no measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from charlstm.report.axes import (
    End,
    fraction_axis,
    gradient_axis,
    grid_lines,
    label_ends,
    label_layout,
    labeled_canvas,
    log_distance,
    panels,
)
from charlstm.report.document import Figure
from charlstm.report.drawing import MUTED, color, finish, percent, placeholder_on_error, stroke, style
from charlstm.report.estimate_plots import Estimate
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

FLOOR = 1e-12
"""The smallest gradient that is drawn, relative to that at lag 0."""

Curve = NDArray[np.float64]


@placeholder_on_error
def recall_plot(
    lags: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
    colors: Mapping[str, int],
    chance_level: float,
    solved: float = 0.95,
    name: str = "recall-over-lag",
    title: str = "Accuracy over the lag",
    x_label: str = "characters between the key and the query",
    note: str = "",
) -> Figure | None:
    """Plot accuracy against lag: the median over seeds, and each seed as a thin line. None for a single lag.

    Args:
        lags: distances in characters, ascending.
        curves: for each arm and each seed, the accuracy at each lag.
        colors: each arm's color number.
        chance_level: the accuracy of guessing.
        solved: the accuracy from which a lag is solved.
        name: the unique name of the figure.
        title: the title of the plot.
        x_label: what the distance is between.
        note: a sentence for the end of the caption.
    """
    drawn = {
        arm: array for arm, seeds in curves.items() if np.isfinite(array := np.array(seeds, dtype=np.float64)).any()
    }
    if not drawn or len(lags) < 2:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, labels = [], [], distinct(drawn)
        for (arm, seeds), width in zip(drawn.items(), _widths(len(drawn)), strict=True):
            median = _median(seeds)
            if len(seeds) > 1:
                for seed in seeds:
                    axes.plot(lags, seed, linewidth=0.8, alpha=0.35, **stroke(colors[arm]))
            axes.plot(lags, median, marker="o", markersize=3 + width / 2, linewidth=width, **stroke(colors[arm]))
            last = int(np.flatnonzero(np.isfinite(median))[-1])
            ends.append(End(f"{labels[arm]} {median[last]:.0%}", color(colors[arm]), lags[last], median[last]))
            points = ", ".join(
                f"{accuracy:.0%} at {lag}" for lag, accuracy in zip(lags, median, strict=True) if accuracy == accuracy
            )
            descriptions.append(f"{visible(arm)}: {points}.")
        log_distance(axes, lags)
        fraction_axis(axes, {"chance": chance_level, "solved": solved})
        axes.set_xlabel(x_label)
        axes.set_title(visible(title))
        label_ends(axes, ends, gap)
        alt = f"Line plot of accuracy against the lag in characters; chance level: {percent(chance_level)}. "
        several = any(len(seeds) > 1 for seeds in drawn.values())
        caption = "Bold: median over seeds. Thin: each seed." if several else "One seed."
        return finish(figure, name, alt + " ".join(descriptions), f"{caption} {note}".rstrip())


@placeholder_on_error
def lag_plot(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], float]]],
    colors: Mapping[str, int],
    fraction: float = 0.01,
    name: str = "gradient-over-lag",
    title: str = "Gradient over lag, relative to lag 0",
) -> Figure | None:
    """Plot the norm of d loss(t) / d state(t - k) against k, relative to its value at k = 0, on a logarithmic axis.

    A curve ends where it first falls below `FLOOR`.

    Args:
        curves: for each panel title and each arm, the norms at k = 0, 1, ... and the effective depth: the largest k
            with at least `fraction` of the value at k = 0.
        colors: each arm's color number.
        fraction: the threshold of the effective depth, drawn as a dotted line.
        name: the unique name of the figure.
        title: the title of a single panel without a title, and the label of the y axis otherwise.
    """
    relative = {panel: _relative(by_arm) for panel, by_arm in curves.items()}
    relative = {panel: by_arm for panel, by_arm in relative.items() if by_arm}
    if not relative:
        return None
    with style():
        gap, height = label_layout(max(map(len, relative.values())))
        figure, row = panels(len(relative), height)
        descriptions = []
        values = np.concatenate([curve for by_arm in relative.values() for curve in by_arm.values()])
        lowest = max(min(np.nanmin(values), fraction / 10), FLOOR)
        gradient_axis(row[0], lowest, max(np.nanmax(values), 1.0), fraction)
        for axes, (panel, by_arm) in zip(row, relative.items(), strict=True):
            ends, labels = [], distinct(by_arm)
            for (arm, curve), width in zip(by_arm.items(), _widths(len(by_arm)), strict=True):
                depth, arm_color = curves[panel][arm][1], color(colors[arm])
                axes.plot(curve, linewidth=width, solid_capstyle="butt", **stroke(colors[arm]))
                if np.isfinite(height := _height(curve, depth)):
                    axes.plot(depth, height, "o", color=arm_color, markersize=8, clip_on=False)
                last = int(np.flatnonzero(np.isfinite(curve))[-1])
                ends.append(End(f"{labels[arm]}: {depth:g}", arm_color, last, curve[last]))
                descriptions.append(f"{visible(panel)} {visible(arm)}: effective depth {depth:g}.".lstrip())
            axes.set_xlim(0, max(len(curve) for curve in by_arm.values()) - 1)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("lag k in characters")
            grid_lines(axes)
            axes.axhline(fraction, color=MUTED, linestyle=":", linewidth=1.2)
            label_ends(axes, ends, gap)
            axes.set_title(visible(panel or title))
        if any(relative):
            row[0].set_ylabel(visible(title))
        alt = f"Line plot, logarithmic: {title}, against the lag k in characters. " + " ".join(descriptions)
        caption = (
            f"The number next to each name, and the dot on its curve, is the effective depth: the largest lag with at "
            f"least {percent(fraction)} of the gradient at lag 0 (dotted); the number is the median over seeds, the "
            "curve the mean. A straight line is an exponential decay."
        )
        return finish(figure, name, alt, caption)


@placeholder_on_error
def context_plot(
    context_lengths: Sequence[int],
    curves: Mapping[str, Sequence[Estimate]],
    colors: Mapping[str, int],
    ngram: tuple[int, float] | None = None,
) -> Figure | None:
    """Plot held-out bits against the number of characters since the state was reset, with the interval as a band.

    Args:
        context_lengths: characters of context, ascending; 0 is drawn at the left end of the logarithmic axis.
        curves: for each arm, the mean bits for each context length, with the ends of the interval.
        colors: each arm's color number.
        ngram: the order of an n-gram model and its bits: drawn as a horizontal line, with a dot at its context length,
            order - 1.
    """
    drawn = {
        arm: array
        for arm, values in curves.items()
        if np.isfinite((array := np.array(values, dtype=np.float64))[:, 0]).any()
    }
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn) + (ngram is not None))
        x_values = log_distance(axes, context_lengths)
        ends, descriptions, labels = [], [], distinct(drawn)
        if ngram is not None:
            order, bits = ngram
            axes.axhline(bits, color=MUTED, linewidth=1.2, linestyle=":")
            axes.plot(max(order - 1, x_values[0]), bits, "o", color=MUTED, markersize=6)
            ends.append(End(f"{order}-gram {bits:.2f}", MUTED, x_values[-1], bits))
            descriptions.append(f"A {order}-gram model: {bits:.2f} bits.")
        for arm, values in drawn.items():
            mean, low, high = values.T
            axes.fill_between(x_values, low, high, color=color(colors[arm]), alpha=0.18, linewidth=0)
            axes.plot(x_values, mean, linewidth=2.2, marker="o", markersize=4, **stroke(colors[arm]))
            valid = np.flatnonzero(np.isfinite(mean))
            first, last = int(valid[0]), int(valid[-1])
            ends.append(End(f"{labels[arm]} {mean[last]:.2f}", color(colors[arm]), x_values[last], mean[last]))
            descriptions.append(
                f"{visible(arm)} goes from {mean[first]:.2f} bits at {context_lengths[first]} to {mean[last]:.2f} at "
                f"{context_lengths[last]}."
            )
        axes.yaxis.set_major_locator(MaxNLocator(6))
        grid_lines(axes)
        axes.set_xlabel("characters read since the state was reset")
        axes.set_title("Held-out bits per character")
        label_ends(axes, ends, gap)
        alt = "Line plot of held-out bits per character against the characters of context. " + " ".join(descriptions)
        caption = "Lower is better; a curve is flat where its model does not use more context." + (
            " Band: from the lower to the upper 95% bound."
            if any(np.isfinite(values[:, 1:]).any() for values in drawn.values())
            else ""
        )
        return finish(figure, "loss-over-context", alt, caption)


def _median(seeds: Curve) -> Curve:
    """The median over the seeds [seeds, positions] with a measurement at each position; NaN without one."""
    measured = np.isfinite(seeds).any(axis=0)
    median = np.full(seeds.shape[1], math.nan)
    median[measured] = np.nanmedian(seeds[:, measured], axis=0)
    return median


def _widths(count: int) -> list[float]:
    """Decreasing line widths, so that an edge of each curve is visible under later ones."""
    step = min(0.7, 2.0 / max(count - 1, 1))
    return [2.0 + step * later for later in range(count - 1, -1, -1)]


def _relative(curves: Mapping[str, tuple[Sequence[float], float]]) -> dict[str, Curve]:
    """Each curve relative to its first value, NaN after it reaches the floor; without curves that start at zero."""
    drawn = {}
    for arm, (norms, _) in curves.items():
        curve = np.array(norms, dtype=np.float64)
        if curve.size and np.isfinite(curve[0]) and curve[0] > 0:
            curve = curve / curve[0]
            curve[~np.isfinite(curve)] = math.nan
            below = np.flatnonzero(curve < FLOOR)
            if below.size:
                curve[below[0]] = FLOOR
                curve[below[0] + 1 :] = math.nan
            drawn[arm] = curve
    return drawn


def _height(curve: Curve, depth: float) -> float:
    """The height at a depth, which may be between two lags, of the curve as drawn on a logarithmic axis; NaN outside
    of it."""
    return float(np.exp(np.interp(depth, np.arange(len(curve)), np.log(curve), right=math.nan)))
