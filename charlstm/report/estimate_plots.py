"""Plots of estimates with their intervals: bars in groups, and differences in loss by distance.

A missing measurement is NaN. The functions return None if there are no measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from charlstm.report.axes import End, grid_lines, label_ends, label_row, labeled_canvas, mark_positions
from charlstm.report.document import Figure
from charlstm.report.drawing import (
    INK,
    MUTED,
    add_title,
    canvas,
    color,
    finish,
    percent,
    placeholder_on_error,
    stroke,
    style,
)
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

Estimate = tuple[float, float, float]
"""A value and the two ends of its interval; NaN where unknown."""


def measured_arrays(curves: Mapping[str, Sequence[Estimate]]) -> dict[str, NDArray[np.float64]]:
    """Each arm's estimates as an array [values, 3], without arms that have no measurement."""
    arrays = {arm: np.array(estimates, dtype=np.float64).reshape(-1, 3) for arm, estimates in curves.items()}
    return {arm: array for arm, array in arrays.items() if np.isfinite(array[:, 0]).any()}


@placeholder_on_error
def bars_plot(
    groups: Sequence[str],
    arms: Mapping[str, Sequence[Estimate]],
    colors: Mapping[str, int],
    name: str,
    title: str,
    thresholds: Mapping[str, float] | None = None,
    unit: str = "",
) -> Figure | None:
    """Plot a bar, a dot and an interval for each arm in each group, one row each.

    Args:
        groups: names of the groups, such as lengths or ablations, from the top.
        arms: for each arm, one estimate per group; NaN where it was not measured.
        colors: each arm's color number.
        name: the unique name of the figure.
        title: the title of the plot.
        thresholds: values to be marked by dotted lines, by their names.
        unit: unit of the values, such as nats; empty for fractions from 0 to 1.
    """
    values = measured_arrays(arms)
    if not values:
        return None
    missing = np.full((len(groups), 3), math.nan)
    marks = thresholds or {}
    with style():
        rows = _rows(groups, list(arms))
        labels = distinct((row.text for row in rows), 22)
        figure, axes = canvas(1.0 + 0.25 * bool(marks) + 0.29 * (rows[-1].position + 1))
        descriptions = []
        for row in rows:
            if row.arm is None:
                continue
            estimate = values.get(row.arm, missing)[row.group]
            value_text = _draw_bar(axes, row.position, estimate, colors[row.arm], unit)
            descriptions.append(f"{visible(groups[row.group])}, {visible(row.arm)}: {value_text}.".lstrip(", "))
        axes.set_ylim(rows[-1].position + 0.6, -0.6)
        axes.set_yticks([row.position for row in rows], [labels[row.text] for row in rows], color=INK)
        for row, label in zip(rows, axes.get_yticklabels(), strict=True):
            if row.arm is None:
                label.set_fontweight("bold")
        _value_axis(axes, np.concatenate(list(values.values())), list(marks.values()), unit)
        mark_positions(axes, marks)
        add_title(figure, title)
        lines = "".join(f" {visible(mark)} is at {_format(value, unit)}." for mark, value in marks.items())
        alt = f"Bar plot: {visible(title)}.{lines} " + " ".join(descriptions)
        has_intervals = any(np.isfinite(array[:, 1:]).any() for array in values.values())
        caption = "Line through a dot: from the lower to the upper 95% bound." if has_intervals else ""
        return finish(figure, name, alt, caption)


@placeholder_on_error
def difference_plot(
    bins: Sequence[str],
    counts: Sequence[int],
    curves: Mapping[str, Sequence[Estimate]],
    colors: Mapping[str, int],
    reference: tuple[str, Sequence[float]],
    name: str,
    title: str,
) -> Figure | None:
    """Plot the bits by which each arm differs from a baseline, by distance; None without an arm.

    Args:
        bins: names of the distances, such as 10–19, ascending.
        counts: number of positions at each distance.
        curves: for each arm, the difference at each distance, with its interval; below zero is better.
        colors: each arm's color number.
        reference: the name and the differences of a model without an interval, drawn as a dotted line.
        name: the unique name of the figure.
        title: the title of the plot.
    """
    drawn = measured_arrays(curves)
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn) + 1)
        ends, descriptions, labels = [], [], distinct([*drawn, reference[0]])
        shifts = np.linspace(-0.15, 0.15, len(drawn)) if len(drawn) > 1 else [0.0]
        for (arm, values), shift in zip(drawn.items(), shifts, strict=True):
            difference, low, high = values.T
            positions, line_color = np.arange(len(bins)) + shift, color(colors[arm])
            axes.vlines(positions, low, high, color=line_color, alpha=0.5, linewidth=1.8)
            axes.plot(positions, difference, linewidth=1.6, marker="o", markersize=5, **stroke(colors[arm]))
            last = int(np.flatnonzero(np.isfinite(difference))[-1])
            ends.append(End(f"{labels[arm]} {difference[last]:+.2f}", line_color, positions[last], difference[last]))
            points = ", ".join(f"{one:+.2f} at {of}" for one, of in zip(difference, bins, strict=True) if one == one)
            descriptions.append(f"{visible(arm)}: {points}.")
        shown = np.concatenate(list(drawn.values()))  # with the ends of the intervals
        lowest, highest = min(float(np.nanmin(shown)), 0.0), max(float(np.nanmax(shown)), 0.0)
        margin = max(0.05 * (highest - lowest), 0.02)
        other, line = reference
        axes.plot(range(len(bins)), line, color=MUTED, linewidth=1.4, linestyle=":")
        axes.set_ylim(lowest - margin, highest + margin)  # an n-gram model that is far worse would flatten all others
        ends.append(End(f"{labels[other]} {line[-1]:+.2f}", MUTED, len(bins) - 1, line[-1]))
        axes.axhline(0, color=MUTED, linewidth=1.0)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xticks(
            range(len(bins)), [f"{of}\n{count:,}" for of, count in zip(bins, counts, strict=True)], fontsize=9
        )
        axes.yaxis.set_major_locator(MaxNLocator(6))
        grid_lines(axes)
        axes.set_xlabel("distance in characters; below: number of positions")
        axes.set_title(visible(title))
        label_ends(axes, ends, gap)
        alt = f"Plot of differences in bits by distance: {visible(title)}. " + " ".join(descriptions)
        return finish(figure, name, alt, "Below zero is better. Vertical lines: from the lower to the upper 95% bound.")


class _Row(NamedTuple):
    """A row of the plot: a bar with its name, or the heading of a group, which has no arm."""

    position: float
    text: str
    group: int
    arm: str | None


def _rows(groups: Sequence[str], arms: Sequence[str]) -> list[_Row]:
    """The rows: with a single arm, bars are named by their groups; with a single unnamed group, by their arms."""
    if len(arms) == 1:
        return [_Row(float(index), group, index, arms[0]) for index, group in enumerate(groups)]
    rows: list[_Row] = []
    for index, group in enumerate(groups):
        top = rows[-1].position + 1.45 if rows else 0.0
        if group:
            rows.append(_Row(top, group, index, None))
            top += 1
        rows += [_Row(top + offset, arm, index, arm) for offset, arm in enumerate(arms)]
    return rows


def _draw_bar(axes: Axes, position: float, estimate: NDArray[np.float64], number: int, unit: str) -> str:
    """Draw one row. Returns its value as text, which is also drawn at the end of the row."""
    value, low, high = estimate
    is_measured = bool(np.isfinite(value))
    bar_color = color(number) if is_measured else MUTED
    if is_measured:
        axes.barh(position, value, height=0.62, color=bar_color, alpha=0.28, linewidth=0)
        axes.plot([low, high], [position, position], color=bar_color, linewidth=1.8, solid_capstyle="butt")
        axes.plot(value, position, "o", color=bar_color, markersize=7, clip_on=False)
    text = _format(float(value), unit) if is_measured else "not measured"
    label_row(axes, position, text, color=bar_color, fontweight="bold" if is_measured else "normal", fontsize=10)
    return text


def _format(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit else percent(value)


def _value_axis(axes: Axes, values: NDArray[np.float64], marks: Sequence[float], unit: str) -> None:
    if unit:
        all_values = [*values[np.isfinite(values)].tolist(), *marks, 0.0]
        lowest, highest = min(all_values), max(all_values)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(unit)
    else:
        lowest, highest = 0.0, 1.0
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    margin = 0.025 * (highest - lowest or 1.0)  # so that a dot at zero does not touch its name
    axes.set_xlim(lowest - margin, (highest if highest > lowest else 1.0) + margin)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    grid_lines(axes, "x")
