"""Plots of estimates with their intervals: bars in groups, and accuracy by distance.

A missing measurement is NaN. A plot without any measurement is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from charlstm.report.axes import End, label_ends, label_row, labelled_canvas, mark_places, ruled, share_axis
from charlstm.report.document import Figure
from charlstm.report.drawing import INK, MUTED, canvas, colour, finish, percent, picture, short, stroke, style
from charlstm.text.visible import visible

Estimate = tuple[float, float, float]
"""A value and the two ends of its interval; NaN for what is not known."""


def measured(curves: Mapping[str, Sequence[Estimate]]) -> dict[str, NDArray[np.float64]]:
    """Each arm's estimates [values, 3]; an arm without any measurement is left out."""
    arrays = {arm: np.array(own, dtype=np.float64).reshape(-1, 3) for arm, own in curves.items()}
    return {arm: own for arm, own in arrays.items() if np.isfinite(own[:, 0]).any()}


@picture
def bars_plot(
    groups: Sequence[str],
    arms: Mapping[str, Sequence[Estimate]],
    colours: Mapping[str, int],
    name: str,
    title: str,
    thresholds: Mapping[str, float] | None = None,
    unit: str = "",
) -> Figure | None:
    """A bar, a dot and an interval for each arm in each group, one row each.

    Args:
        groups: what is measured, such as lengths or ablations, from the top.
        arms: for each arm, one estimate for each group; NaN where it was not measured.
        colours: each arm's colour number.
        name: the figure's name, unlike every other's.
        title: stands above the plot.
        thresholds: values to be marked by a dotted line, by their names.
        unit: of the values, such as nats; if empty they are shares from 0 to 1.
    """
    values = measured(arms)
    if not values:
        return None
    nothing = np.full((len(groups), 3), math.nan)
    marks = thresholds or {}
    with style():
        rows = _rows(groups, list(arms))
        figure, axes = canvas(1.0 + 0.25 * bool(marks) + 0.29 * (rows[-1].place + 1))
        said = []
        for row in rows:
            if row.arm is None:
                continue
            estimate = values.get(row.arm, nothing)[row.group]
            figure_text = _draw_bar(axes, row.place, estimate, colours[row.arm], unit)
            said.append(f"{visible(groups[row.group])}, {visible(row.arm)}: {figure_text}.".lstrip(", "))
        axes.set_ylim(rows[-1].place + 0.6, -0.6)
        axes.set_yticks([row.place for row in rows], [short(row.text, 22) for row in rows], color=INK)
        for row, label in zip(rows, axes.get_yticklabels(), strict=True):
            if row.arm is None:
                label.set_fontweight("bold")
        _value_axis(axes, np.concatenate(list(values.values())), list(marks.values()), unit)
        mark_places(axes, marks)
        axes.set_title(visible(title), pad=20 if marks else None)
        lines = "".join(f" {visible(mark)} is at {_figure(value, unit)}." for mark, value in marks.items())
        alt = f"Bar plot: {visible(title)}.{lines} " + " ".join(said)
        known = any(np.isfinite(own[:, 1:]).any() for own in values.values())
        return finish(figure, name, alt, "Line through a dot: 95% interval." if known else "")


@picture
def distance_plot(
    bins: Sequence[str],
    counts: Sequence[int],
    curves: Mapping[str, Sequence[Estimate]],
    colours: Mapping[str, int],
    name: str,
    title: str,
    distance: str = "characters since it was opened",
) -> Figure | None:
    """Accuracy by distance, with how many places each distance has.

    Args:
        bins: the names of the distances, such as 10–19, from the nearest.
        counts: how many places were counted at each distance.
        curves: for each arm, the share of right predictions at each distance, with its interval.
        colours: each arm's colour number.
        name: the figure's name, unlike every other's.
        title: stands above the plot, and says what is predicted.
        distance: what the distance is.
    """
    drawn = measured(curves)
    if not drawn:
        return None
    with style():
        figure, axes, gap = labelled_canvas(len(drawn))
        ends, said = [], []
        # Side by side within a distance, so that one interval does not hide another.
        aside = np.linspace(-0.18, 0.18, len(drawn)) if len(drawn) > 1 else [0.0]
        for (arm, values), shift in zip(drawn.items(), aside, strict=True):
            share, low, high = values.T
            places, shade = np.arange(len(bins)) + shift, colour(colours[arm])
            axes.vlines(places, low, high, color=shade, alpha=0.5, linewidth=1.8)
            axes.plot(places, share, linewidth=1.6, marker="o", markersize=6, **stroke(colours[arm]))
            last = int(np.flatnonzero(np.isfinite(share))[-1])
            ends.append(End(f"{short(arm)} {share[last]:.0%}", shade, places[last], share[last]))
            shares = ", ".join(f"{s:.0%} at {place}" for s, place in zip(share, bins, strict=True) if s == s)
            said.append(f"{visible(arm)}: {shares}.")
        share_axis(axes, {})
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xticks(
            range(len(bins)), [f"{place}\n{count:,}" for place, count in zip(bins, counts, strict=True)], fontsize=9
        )
        axes.set_xlabel(distance)
        axes.set_title(visible(title))
        label_ends(axes, ends, gap)
        alt = f"Plot of the share of right predictions by distance: {visible(title)}. " + " ".join(said)
        known = any(np.isfinite(values[:, 1:]).any() for values in drawn.values())
        caption = "Under each distance: how many places were counted."
        return finish(figure, name, alt, caption + (" Upright lines: 95% intervals." if known else ""))


class _Row(NamedTuple):
    """A line of text in front of a bar, or the heading of a group, which has no arm."""

    place: float
    text: str
    group: int
    arm: str | None


def _rows(groups: Sequence[str], arms: Sequence[str]) -> list[_Row]:
    """Where there is one arm the groups name the bars, and where there is one group without a name the arms do."""
    if len(arms) == 1:
        return [_Row(float(place), group, place, arms[0]) for place, group in enumerate(groups)]
    rows: list[_Row] = []
    for number, group in enumerate(groups):
        top = rows[-1].place + 1.45 if rows else 0.0
        if group:
            rows.append(_Row(top, group, number, None))
            top += 1
        rows += [_Row(top + place, arm, number, arm) for place, arm in enumerate(arms)]
    return rows


def _draw_bar(axes: Axes, place: float, estimate: NDArray[np.float64], number: int, unit: str) -> str:
    """Draw one row; the text is what it shows, for the row's end and for a reader who sees no plot."""
    value, low, high = estimate
    measured = bool(np.isfinite(value))
    shade = colour(number) if measured else MUTED
    if measured:
        axes.barh(place, value, height=0.62, color=shade, alpha=0.28, linewidth=0)
        axes.plot([low, high], [place, place], color=shade, linewidth=1.8, solid_capstyle="butt")
        axes.plot(value, place, "o", color=shade, markersize=7, clip_on=False)
    text = _figure(float(value), unit) if measured else "not measured"
    label_row(axes, place, text, color=shade, fontweight="bold" if measured else "normal", fontsize=10)
    return text


def _figure(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit else percent(value)


def _value_axis(axes: Axes, values: NDArray[np.float64], marks: Sequence[float], unit: str) -> None:
    if unit:
        seen = [*values[np.isfinite(values)].tolist(), *marks, 0.0]
        lowest, highest = min(seen), max(seen)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(unit)
    else:
        lowest, highest = 0.0, 1.0
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    margin = 0.025 * (highest - lowest or 1.0)  # a dot at zero stays clear of its name
    axes.set_xlim(lowest - margin, (highest if highest > lowest else 1.0) + margin)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    ruled(axes, "x")
