"""Plots of training: the steps until a task is solved, and what changes in the network meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from charlstm.report.axes import (
    End,
    grid_lines,
    label_ends,
    label_layout,
    labeled_canvas,
    log_distance,
    log_ticks,
    panels,
)
from charlstm.report.document import Figure
from charlstm.report.drawing import color, compact, finish, placeholder_on_error, stroke, style
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

FLOOR = 0.1
"""The smallest value that is drawn on a logarithmic axis."""


class TrainingCurve(NamedTuple):
    """A measurement during one run: steps and values, and the step at which the task was solved, None if never."""

    steps: Sequence[int]
    values: Sequence[float]
    solved: int | None


@placeholder_on_error
def steps_plot(
    lags: Sequence[int],
    steps: Mapping[str, Sequence[Sequence[int]]],
    colors: Mapping[str, int],
) -> Figure | None:
    """Plot the steps until a lag is solved against the lag, both logarithmic: the median and the range over seeds.

    steps: for each arm and lag, the steps of each seed that solves it; lags that no seed solves are not drawn.
    """
    drawn = {arm: by_lag for arm, by_lag in steps.items() if any(by_lag)}
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, labels = [], [], distinct(drawn)
        for arm, by_lag in drawn.items():
            points = [(lag, values) for lag, values in zip(lags, by_lag, strict=True) if values]
            x, medians = [lag for lag, _ in points], [statistics.median(values) for _, values in points]
            axes.vlines(
                x, [min(v) for _, v in points], [max(v) for _, v in points], color=color(colors[arm]), alpha=0.5
            )
            axes.plot(x, medians, marker="o", linewidth=2.0, markersize=4.5, **stroke(colors[arm]))
            ends.append(End(f"{labels[arm]} {compact(medians[-1])}", color(colors[arm]), x[-1], medians[-1]))
            texts = (f"{median:,g} at {lag}" for lag, median in zip(x, medians, strict=True))
            descriptions.append(f"{visible(arm)}: {', '.join(texts)}.")
        log_distance(axes, lags)
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        grid_lines(axes)
        axes.set_xlabel("characters between the key and the query")
        axes.set_title("Training steps until the lag is solved")
        label_ends(axes, ends, gap)
        alt = "Line plot, both axes logarithmic, of training steps against the lag. " + " ".join(descriptions)
        caption = "Median and range of the seeds that solve the lag, with the best initialization."
        return finish(figure, "steps-to-solve", alt, caption)


@placeholder_on_error
def training_plot(
    groups: Mapping[str, Mapping[str, Sequence[TrainingCurve]]],
    colors: Mapping[str, int],
    name: str,
    title: str,
    label: str,
) -> Figure | None:
    """Plot a measurement against the training step: a panel for each arm, a color for each initialization.

    There is a line for each run. A dot marks the step at which a run solves the task.

    Args:
        groups: for each arm and each of its initializations, the curves of its runs; the initialization of an arm
            without several ones has its name.
        colors: each arm's color number, which its first initialization has; the next ones have the next colors.
        name: the unique name of the figure.
        title: what is measured.
        label: the label of the y axis.
    """
    drawn = {
        arm: kept
        for arm, initializations in groups.items()
        if (
            kept := {name: used for name, curves in initializations.items() if (used := [c for c in curves if c.steps])}
        )
    }
    if not drawn:
        return None
    with style():
        gap, height = label_layout(max(map(len, drawn.values())))
        figure, row = panels(len(drawn), height, sharex=True)
        descriptions, ends_of = [], list[list[End]]()
        for axes, (arm, initializations) in zip(row, drawn.items(), strict=True):
            ends, labels = [], distinct(initializations)
            for number, (initialization, curves) in enumerate(initializations.items(), start=colors[arm]):
                for curve in curves:
                    axes.plot(curve.steps, curve.values, linewidth=1.0, alpha=0.6, **stroke(number))
                    if curve.solved is not None and curve.solved in curve.steps:
                        value = curve.values[list(curve.steps).index(curve.solved)]
                        axes.plot(curve.solved, value, "o", markersize=5, color=color(number))
                longest = max(curves, key=lambda curve: curve.steps[-1])
                solved = sum(curve.solved is not None for curve in curves)
                which = "" if initialization == arm else f"{labels[initialization]}: "
                text = f"{which}{solved}/{len(curves)}"
                ends.append(End(text, color(number), longest.steps[-1], longest.values[-1]))
                first, last = (statistics.median(c.values[index] for c in curves) for index in (0, -1))
                descriptions.append(
                    f"{visible(arm)}, {visible(initialization)}: from {first:g} to {last:g}, {solved} solved."
                )
            grid_lines(axes)
            axes.set_xlabel("training steps")
            axes.set_title(visible(arm))
            ends_of.append(ends)
        for axes, ends in zip(row, ends_of, strict=True):  # the panels share their scales
            label_ends(axes, ends, gap)
        row[0].set_ylabel(label)
        alt = f"Line plot: {title}, against training steps. " + " ".join(descriptions)
        return finish(
            figure,
            name,
            alt,
            f"{title}. A line for each run, up to a dot where it solves the task (reaches the target loss); the "
            "numbers count the runs that solve it.",
        )


@placeholder_on_error
def medians_plot(
    curves: Mapping[str, Mapping[int, Sequence[float]]],
    colors: Mapping[str, int],
    name: str,
    title: str,
    label: str,
) -> Figure | None:
    """Plot a measurement against the training step, both logarithmic: the median and the range over the runs of an arm.

    Args:
        curves: for each arm, the values of its runs after each number of steps; values below `FLOOR` are drawn there,
            and step 0 at half of the next one.
        colors: each arm's color number.
        name: the unique name of the figure.
        title: what is measured.
        label: the label of the y axis.
    """
    drawn = {arm: by_step for arm, by_step in curves.items() if by_step}
    if not drawn:
        return None
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, labels = [], [], distinct(drawn)
        all_steps = sorted({step for by_step in drawn.values() for step in by_step})
        places = dict(zip(all_steps, log_distance(axes, all_steps), strict=True))
        for arm, by_step in drawn.items():
            steps = sorted(by_step)
            columns = [[max(value, FLOOR) for value in by_step[step]] for step in steps]
            x, medians = [places[step] for step in steps], [statistics.median(column) for column in columns]
            lowest, highest = [min(column) for column in columns], [max(column) for column in columns]
            axes.fill_between(x, lowest, highest, alpha=0.12, color=color(colors[arm]), linewidth=0)
            axes.plot(x, medians, linewidth=2.0, **stroke(colors[arm]))
            last = compact(float(f"{medians[-1]:.2g}"))
            ends.append(End(f"{labels[arm]} {last}", color(colors[arm]), x[-1], medians[-1]))
            texts = (f"{median:.3g} after {step:,}" for step, median in zip(steps, medians, strict=True))
            descriptions.append(f"{visible(arm)}: {', '.join(texts)}.")
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        grid_lines(axes)
        axes.set_xlabel("training steps")
        axes.set_ylabel(label)
        axes.set_title(title)
        label_ends(axes, ends, gap)
        alt = f"Line plot, both axes logarithmic: {title}, against training steps. " + " ".join(descriptions)
        return finish(figure, name, alt, f"{title} during training: median and range of the seeds.")
