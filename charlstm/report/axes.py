"""The axes that plots share: labels at the ends of curves, rules across the plot, distances and shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from charlstm.report.drawing import FULL_WIDTH, HEIGHT, MUTED, WIDTH, canvas, compact, percent, spread
from charlstm.text.visible import visible

LABEL_GAP = 0.075  # of the usual height, from one curve's name to the next; more curves need a higher plot


class End(NamedTuple):
    """A label for the end of a curve: its text and colour, and the place (in data) where the curve ends."""

    text: str
    shade: str
    x: float
    y: float


def label_ends(axes: Axes, ends: Sequence[End], gap: float) -> None:
    """Each curve's label to the right of the axes, moved apart to be `gap` of the height from the next.

    Call it when everything is drawn and the scales of the axes are set.
    """
    bottom, top = axes.get_ylim()  # first: a limit that is still to be found is found here
    to_share = axes.transData + axes.transAxes.inverted()
    shares = [min(max(float(to_share.transform((end.x, end.y))[1]), 0.0), 1.0) for end in ends]
    order = sorted(range(len(ends)), key=lambda place: (shares[place], ends[place].x))
    heights = spread([shares[place] for place in order], gap)
    for place, height in zip(order, heights, strict=True):
        end = ends[place]
        axes.annotate(
            end.text,
            (end.x, min(max(end.y, bottom), top)),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            color=end.shade,
            fontweight="bold",
            fontsize=10,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),
                "color": end.shade,
                "alpha": 0.5,
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def ruled(axes: Axes, along: Literal["x", "y"] = "y") -> None:
    """Lines across the plot at the ticks of one axis, in place of the axis itself."""
    axes.tick_params(axis=along, length=0)
    axes.spines["left" if along == "y" else "bottom"].set_visible(False)
    axes.grid(axis=along)


def label_room(labels: int) -> tuple[float, float]:
    """The share of the height from one label to the next, and the height in inches that so many labels need."""
    gap = min(LABEL_GAP, 1 / max(labels, 1))
    return gap, HEIGHT * LABEL_GAP / gap


def labelled_canvas(labels: int) -> tuple[Canvas, Axes, float]:
    """A canvas with room for so many labels at the ends of its lines, and the gap between them for `label_ends`."""
    gap, height = label_room(labels)
    return *canvas(height), gap


def label_row(axes: Axes, row: float, text: str, **font: Any) -> None:
    """Write at the right end of a row of the plot, outside the axes."""
    axes.annotate(
        text,
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        **font,
    )


def mark_places(axes: Axes, places: Mapping[str, float]) -> None:
    """Dotted upright lines, their names above the axes. Call it before the title, which then stands higher."""
    for text, place in places.items():
        axes.axvline(place, color=MUTED, linestyle=":", linewidth=1.2, zorder=0.9)
        axes.annotate(
            visible(text),
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=MUTED,
            fontsize=10,
        )


def panels(count: int, height: float = HEIGHT, width: float = FULL_WIDTH) -> tuple[Canvas, list[Axes]]:
    """A figure with `count` sets of axes side by side that share their upright axis; a single one is as usual."""
    figure = Canvas(figsize=(width if count > 1 else WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def log_distance(axes: Axes, distances: Sequence[float]) -> NDArray[np.float64]:
    """Make the level axis logarithmic, with ticks at the distances that there is room for.

    `distances` are ascending and not negative. Returned are their places: a distance of 0 has none on a logarithmic
    axis and stands at half of the next one.
    """
    places = np.array(distances, dtype=np.float64)
    if places[0] == 0:
        places[0] = places[1] / 2 if len(places) > 1 else 1.0
    shown = [len(places) - 1]
    room = 0.085 * math.log(places[-1] / places[0])
    for number in range(len(places) - 2, -1, -1):
        if math.log(places[shown[-1]] / places[number]) >= room:
            shown.append(number)
    axes.set_xscale("log")
    axes.set_xlim(places[0] / 1.06, places[-1] * 1.06)
    axes.set_xticks(places[shown], [compact(distances[number]) for number in shown], fontsize=9.5)
    axes.minorticks_off()
    return places


def share_axis(axes: Axes, marks: Mapping[str, float]) -> None:
    """Make the upright axis one of shares from 0 to 1, with a dotted line and a named tick at each mark."""
    plain = [tick for tick in (0.0, 0.25, 0.5, 0.75, 1.0) if all(abs(tick - mark) > 0.07 for mark in marks.values())]
    labels = [f"{tick:.0%}" for tick in plain] + [f"{name} {percent(share)}" for name, share in marks.items()]
    axes.set_ylim(-0.03, 1.05)
    axes.set_yticks([*plain, *marks.values()], labels)
    ruled(axes)
    for share in marks.values():
        axes.axhline(share, color=MUTED, linestyle=":", linewidth=1.2)
