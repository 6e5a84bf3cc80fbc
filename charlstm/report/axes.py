"""Elements of plot axes: labels at the ends of curves, grid lines, distance axes and fraction axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from charlstm.report.drawing import FULL_WIDTH, HEIGHT, MUTED, WIDTH, canvas, compact, percent, spread
from charlstm.text.visible import visible

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LABEL_GAP = 0.075  # from one label to the next, as a fraction of the standard height
SCORE_RANGE = 5.0  # bits; one diverged run would compress all other curves into a line at the bottom


class End(NamedTuple):
    """A label for the end of a curve: its text and color, and the end of the curve in data coordinates."""

    text: str
    color: str
    x: float
    y: float


def label_ends(axes: Axes, ends: Sequence[End], gap: float) -> None:
    """Draw the label of each curve to the right of the axes, at least `gap` (fraction of the height) from the next.

    Call this after everything is drawn and the scales of the axes are set.
    """
    bottom, top = axes.get_ylim()  # must come first: matplotlib computes lazy limits here
    to_axes = axes.transData + axes.transAxes.inverted()
    curve_ends = [min(max(float(to_axes.transform((end.x, end.y))[1]), 0.0), 1.0) for end in ends]
    order = sorted(range(len(ends)), key=lambda index: (curve_ends[index], ends[index].x))
    heights = spread([curve_ends[index] for index in order], gap)
    for index, height in zip(order, heights, strict=True):
        end = ends[index]
        axes.annotate(
            end.text,
            (end.x, min(max(end.y, bottom), top)),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            color=end.color,
            fontweight="bold",
            fontsize=10,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),
                "color": MUTED,  # unlike a curve, which it would seem to continue
                "linestyle": (0, (1, 3)),
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def grid_lines(axes: Axes, along: Literal["x", "y"] = "y") -> None:
    """Draw grid lines at the ticks of one axis, and hide the axis line itself."""
    axes.tick_params(axis=along, length=0)
    axes.spines["left" if along == "y" else "bottom"].set_visible(False)
    axes.grid(axis=along)


def label_layout(labels: int) -> tuple[float, float]:
    """The fraction of the height from one label to the next, and the height in inches that the labels need."""
    gap = min(LABEL_GAP, 1 / max(labels, 1))
    return gap, HEIGHT * LABEL_GAP / gap


def labeled_canvas(labels: int) -> tuple[MplFigure, Axes, float]:
    """A figure that is high enough for the labels at the ends of its curves, and their gap for `label_ends`."""
    gap, height = label_layout(labels)
    return *canvas(height), gap


def label_row(axes: Axes, row: float, text: str, **font: Any) -> None:
    """Write a text at the right end of a row, outside the axes."""
    axes.annotate(
        text,
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        **font,
    )


def mark_positions(axes: Axes, positions: Mapping[str, float]) -> None:
    """Draw dotted vertical lines with their names above the axes. Call this before setting the title."""
    for text, position in positions.items():
        axes.axvline(position, color=MUTED, linestyle=":", linewidth=1.2, zorder=0.9)
        axes.annotate(
            visible(text),
            (position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=MUTED,
            fontsize=10,
        )


def panels(
    count: int, height: float = HEIGHT, width: float = FULL_WIDTH, sharex: bool = False
) -> tuple[MplFigure, list[Axes]]:
    """A figure with `count` axes side by side that share their y axis, and with `sharex` their x axis; a single one has
    the standard width."""
    figure = MplFigure(figsize=(width if count > 1 else WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharex=sharex, sharey=True, squeeze=False)[0])


def log_distance(axes: Axes, distances: Sequence[float]) -> NDArray[np.float64]:
    """Make the x axis logarithmic, with ticks at as many of the distances as fit.

    `distances` are ascending and not negative. Returns their x coordinates: a distance of 0, which a logarithmic axis
    cannot show, is drawn at half of the next one.
    """
    x_values = np.array(distances, dtype=np.float64)
    if x_values[0] == 0:
        x_values[0] = x_values[1] / 2 if len(x_values) > 1 else 1.0
    tick_indices = [len(x_values) - 1]
    min_distance = 0.085 * math.log(x_values[-1] / x_values[0])
    for index in range(len(x_values) - 2, -1, -1):
        if math.log(x_values[tick_indices[-1]] / x_values[index]) >= min_distance:
            tick_indices.append(index)
    axes.set_xscale("log")
    axes.set_xlim(x_values[0] / 1.06, x_values[-1] * 1.06)
    axes.set_xticks(x_values[tick_indices], [compact(distances[index]) for index in tick_indices], fontsize=9.5)
    axes.minorticks_off()
    return x_values


def fraction_axis(axes: Axes, marks: Mapping[str, float]) -> None:
    """Make the y axis one of fractions from 0 to 1, with a dotted line and a named tick at each mark."""
    regular = [tick for tick in (0.0, 0.25, 0.5, 0.75, 1.0) if all(abs(tick - mark) > 0.07 for mark in marks.values())]
    labels = [f"{tick:.0%}" for tick in regular] + [f"{name} {percent(mark)}" for name, mark in marks.items()]
    axes.set_ylim(-0.03, 1.05)
    axes.set_yticks([*regular, *marks.values()], labels)
    grid_lines(axes)
    for mark in marks.values():
        axes.axhline(mark, color=MUTED, linestyle=":", linewidth=1.2)


def amount_axis(axes: Axes, x: NDArray[np.float64]) -> None:
    """Make the x axis one of amounts of training: logarithmic if they span a factor of 8 or more."""
    positive = x[x > 0]
    if positive.size and positive.max() >= 8 * positive.min():
        axes.set_xscale("log")
        # An evaluation before the first step, at 0, cannot be shown on a logarithmic axis.
        axes.set_xlim(positive.min() / 1.05, positive.max() * 1.02)
        log_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def log_locator(low: float, high: float) -> LogLocator:
    """At least two ticks: at 1, 2 and 5 times the powers of ten, over more than a factor of 50 at 1 and 3 times, and
    over more than three decades at powers of ten. More would touch each other."""
    multiples = (1, 2, 5) if high <= 50 * low else (1, 3) if high <= 2e3 * low else (1,)
    return LogLocator(subs=multiples, numticks=12)


def log_ticks(axis: Axis) -> None:
    """Draw the ticks of a logarithmic axis, whose limits are set or given by what is drawn."""
    axis.set_major_locator(log_locator(*axis.get_view_interval()))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def score_axis(axes: Axes, scores: NDArray[np.float64], best: float | None = None) -> None:
    """Make the y axis one of scores in bits, at most 5 above the lowest.

    It is logarithmic and has all scores if `best`, a score that must be visible, is more than 5 above the lowest.
    """
    lowest, highest = float(scores.min()), float(scores.max())
    if best is not None and best > lowest + SCORE_RANGE:
        axes.set_yscale("log")
        axes.set_ylim(lowest / 1.1, highest * 1.1)
        log_ticks(axes.yaxis)
        grid_lines(axes)
        return
    highest = min(highest, lowest + SCORE_RANGE)
    margin = max(0.05 * (highest - lowest), 0.01)
    axes.set_ylim(lowest - margin, highest + margin)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    grid_lines(axes)


def gradient_axis(axes: Axes, lowest: float, highest: float, mark: float | None = None) -> None:
    """Make the y axis logarithmic, with up to seven powers of ten around these values as ticks, and a fraction, which
    replaces those near it."""
    exponents = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    ticks = [t for t in powers_of_ten(*exponents) if mark is None or abs(math.log10(t / mark)) > 0.5]
    labels = {tick: power_of_ten(tick) for tick in ticks} | ({} if mark is None else {mark: percent(mark)})
    axes.set_yscale("log")
    axes.set_ylim(10.0 ** exponents[0], 2 * 10.0 ** exponents[1])
    axes.set_yticks(list(labels), list(labels.values()))
    axes.minorticks_off()


def powers_of_ten(lowest: int, highest: int) -> list[float]:
    """Up to seven evenly spaced powers of ten with exponents from the highest down to the lowest, as ticks."""
    step = max(1, math.ceil((highest - lowest) / 6))
    return [10.0**exponent for exponent in range(highest, lowest - 1, -step)]


def power_of_ten(value: float) -> str:
    """1, 10⁻², 10⁻⁴."""
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else "1"
