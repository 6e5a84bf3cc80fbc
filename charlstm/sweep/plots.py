"""The plots of a sweep: the score against each field, and the learning curves of all trials."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from charlstm.config.search_space import Range
from charlstm.config.sections import EVALUATIONS
from charlstm.config.sweep import value_text
from charlstm.report.axes import log_ticks, score_axis
from charlstm.report.document import Figure
from charlstm.report.drawing import MUTED, canvas, color, compact, finish, placeholder_on_error, style
from charlstm.report.labels import distinct
from charlstm.sweep.sweep import Standing
from charlstm.text.visible import visible
from charlstm.units import bits

WORST_SHOWN = 0.5
"""Bits above the median up to which scores are shown: others lie at the upper edge."""


@placeholder_on_error
def field_plot(
    standings: Sequence[Standing], name: str, values: Range | Sequence[Any], rung: int, unit: str
) -> Figure | None:
    """Plot the held-out bits of the trials against one field: filled dots after the whole budget, rings of all trials
    at the first rung, where all had the same budget. None without a score.

    Args:
        name: the dotted name of the field.
        values: its list or range.
        rung: tenths of the budget at the first rung; 10 without rungs.
    """
    first = [
        (one.candidate[name], score)
        for one in standings
        if rung < EVALUATIONS and name in one.candidate and (score := _bits_at(one, rung)) is not None
    ]
    final = [
        (one.candidate[name], bits(one.mean_nats))
        for one in standings
        if one.state == "finished" and name in one.candidate and math.isfinite(one.mean_nats)
    ]
    if not first and not final:
        return None
    with style():
        figure, axes = canvas()
        place = _value_axis(axes, values)
        every = np.array([score for _, score in (*first, *final)])
        highest = float(np.median(every)) + WORST_SHOWN

        def draw(points: list[tuple[Any, float]], **marker: Any) -> None:
            if points:
                axes.plot(
                    [place(value) for value, _ in points], [min(score, highest) for _, score in points], "o", **marker
                )

        draw(first, markersize=6, markerfacecolor="none", markeredgecolor=MUTED, markeredgewidth=1.2)
        draw(final, markersize=7.5, color=color(0), markeredgewidth=0)
        score_axis(axes, np.minimum(every, highest))
        axes.set_title(f"Held-out bits per {unit} by {_leaf(name)}")
        axes.set_xlabel(visible(name))
        rings = f"Rings: all trials after {10 * rung}% of the budget. " if first else ""
        best = min(final, key=lambda point: point[1]) if final else None
        alt = (
            f"Dot plot of held-out bits per {unit} against {visible(name)}, {len(final)} trials with the whole budget."
        )
        if best:
            alt += f" The best is {best[1]:.3f} at {visible(value_text(best[0]))}."
        edge = "Worse scores lie at the upper edge." if every.max() > highest else ""
        caption = f"{rings}Dots: after the whole budget. Lower is better. {edge}".strip()
        anchor = re.sub(r"[^a-z0-9]+", "-", name.lower())
        return finish(figure, f"score-by-{anchor}", alt, caption)


@placeholder_on_error
def curves_plot(standings: Sequence[Standing], unit: str) -> Figure | None:
    """Plot the held-out bits of every run over the used fraction of its budget, the best trial in color; None without a
    score."""
    curves = [
        (one, [(100 * e.fraction, bits(e.nats)) for e in run]) for one in standings for run in one.evaluations if run
    ]
    if not curves:
        return None
    best = standings[0]
    with style():
        figure, axes = canvas()
        for one, points in reversed(curves):
            is_best = one is best
            x, y = zip(*points, strict=True)
            look: dict[str, Any] = (
                {"color": color(0), "linewidth": 2.2} if is_best else {"color": MUTED, "linewidth": 0.9, "alpha": 0.6}
            )
            axes.plot(x, y, marker="o" if len(x) == 1 or is_best else None, markersize=4, **look)
        scores = np.array([score for _, points in curves for _, score in points])
        score_axis(axes, scores)
        lowest = float(scores.min())
        axes.set_ylim(top=min(float(scores.max()), lowest + 2.0) + 0.03)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
        axes.set_xlabel("budget used")
        axes.set_title(f"Held-out bits per {unit} during training")
        alt = (
            f"Line plot of held-out bits per {unit} over the used budget, {len(curves)} runs. The best, trial "
            f"{best.number}, ends at {curves[0][1][-1][1]:.3f}."
        )
        return finish(figure, "learning-curves", alt, f"In color: trial {best.number}, the best. Lower is better.")


def _bits_at(standing: Standing, rung: int) -> float | None:
    """The mean over the seeds of the best score up to a rung; None if a run has not reached it."""
    scores = []
    for run in standing.evaluations:
        until = next((number for number, e in enumerate(run, start=1) if e.tenths >= rung), None)
        if until is None:
            return None
        scores.append(min(e.nats for e in run[:until]))
    return bits(sum(scores) / len(scores)) if scores else None


def _value_axis(axes: Axes, values: Range | Sequence[Any]) -> Callable[[Any], float]:
    """Set up the x axis for the values of a field; returns a function from a value to its x coordinate."""
    if not isinstance(values, Range):
        names = [value_text(value) for value in values]
        axes.set_xticks(range(len(names)), list(distinct(names, 12).values()))
        axes.set_xlim(-0.5, len(names) - 0.5)
        return lambda value: names.index(value_text(value))
    if values.scale == "log":
        axes.set_xscale("log")
        axes.set_xlim(values.min / 1.12, values.max * 1.12)
        log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    return float


def _leaf(name: str) -> str:
    return visible(name.rpartition(".")[2])
