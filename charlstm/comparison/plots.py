"""The plots of a comparison: learning curves and final scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from charlstm.comparison.results import Comparison, RunResult
from charlstm.comparison.statistics import summarise
from charlstm.report.axes import End, label_ends, label_row, labelled_canvas, ruled
from charlstm.report.document import Figure
from charlstm.report.drawing import INK, canvas, colour, compact, finish, picture, short, stroke, style
from charlstm.text.visible import visible

Curve = NDArray[np.float64]
"""[2, points]: how far the training was, and the score in bits."""


@picture
def learning_curves(
    comparison: Comparison, along: Literal["characters", "seconds"], colours: dict[str, int]
) -> Figure | None:
    """Held-out bits over characters trained on, or over seconds of training; None without a score.

    `comparison` holds causal runs only, or only others; `colours` gives each arm's colour number.
    """
    unit = comparison.unit
    curves = {arm.name: [c for run in arm.runs if (c := _curve(run, along)).size] for arm in comparison.arms}
    curves = {name: drawn for name, drawn in curves.items() if drawn}
    if not curves:
        return None
    with style():
        figure, axes, gap = labelled_canvas(len(curves))
        everything = np.concatenate([curve for drawn in curves.values() for curve in drawn], axis=1)
        ends: list[End] = []
        for name, drawn in curves.items():
            look = stroke(colours[name])
            mean = mean_curve(drawn)
            if len(drawn) > 1:
                for curve in drawn:
                    axes.plot(*curve, linewidth=0.8, alpha=0.45, marker=_dot(curve), markersize=3, **look)
            if mean.size:
                axes.plot(*mean, linewidth=2.2, marker=_dot(mean), markersize=5, **look)
            end = mean[:, -1] if mean.size else drawn[0][:, -1]
            ends.append(End(f"{short(name)} {end[1]:.2f}", look["color"], float(end[0]), float(end[1])))
        _distance_axis(axes, everything[0], unit, along)
        _score_axis(axes, everything[1])
        label_ends(axes, ends, gap)
        kind = _kind(comparison)
        axes.set_title(f"{kind or 'Held-out'} bits per {unit}")
        several = any(len(drawn) > 1 for drawn in curves.values())
        where = f"{unit}s trained on" if along == "characters" else "seconds of training"
        alt = f"Line plot of {kind or 'held-out'} bits per {unit} over {where}. " + " ".join(
            f"{visible(name)} goes from {drawn[0][1, 0]:.2f} to {end.y:.2f} bits."
            for (name, drawn), end in zip(curves.items(), ends, strict=True)
        )
        caption = f"Over {where}; lower is better." + (
            " Bold: mean over seeds, as far as all of them go. Thin: each seed." if several else ""
        )
        name = _file(kind, "learning-curves-" + (f"{unit}s" if along == "characters" else along))
        return finish(figure, name, alt, caption)


@picture
def final_scores(comparison: Comparison, colours: dict[str, int]) -> Figure | None:
    """Each run's best held-out bits as a dot, the mean of the arm as a line; None without a score."""
    summaries = [summary for arm in comparison.arms if (summary := summarise(arm)).bits]
    if not summaries:
        return None
    unit = comparison.unit
    with style():
        figure, axes = canvas(height=1.1 + 0.5 * len(summaries))
        for row, summary in enumerate(summaries):
            values, shade = [value for _, value in summary.bits], colour(colours[summary.name])
            mean = summary.mean_bits if summary.mean_bits is not None else values[0]
            if len(values) > 1:
                axes.plot([min(values), max(values)], [row, row], color=shade, linewidth=1.5, alpha=0.5)
                axes.plot([mean, mean], [row - 0.22, row + 0.22], color=shade, linewidth=2.4)
            axes.plot(values, [row] * len(values), "o", color=shade, markersize=7, alpha=0.75, markeredgewidth=0)
            label_row(axes, row, f"{mean:.3f}", color=shade, fontweight="bold")
        axes.set_yticks(range(len(summaries)), [short(summary.name) for summary in summaries], color=INK)
        axes.set_ylim(len(summaries) - 0.5, -0.5)
        lowest = min(value for summary in summaries for _, value in summary.bits)
        highest = max(value for summary in summaries for _, value in summary.bits)
        margin = max(0.08 * (highest - lowest), 0.005)
        axes.set_xlim(lowest - margin, highest + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.tick_params(axis="both", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("lower is better; the axis does not start at zero")
        kind = _kind(comparison)
        axes.set_title(f"Best {kind.lower() or 'held-out'} bits per {unit}")
        several = any(len(summary.bits) > 1 for summary in summaries)
        alt = f"Dot plot of the best {kind or 'held-out'} bits per {unit} of each run. " + " ".join(
            f"{visible(summary.name)}: mean {summary.mean_bits:.3f}, "
            f"from {summary.lowest_bits:.3f} to {summary.highest_bits:.3f}."
            for summary in summaries
        )
        caption = "A dot is one seed; the upright line and the figure are the mean." if several else ""
        return finish(figure, _file(kind, f"final-bits-per-{unit}"), alt, caption)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean of curves over the stretch that all of them cover, each interpolated where it has no point.

    Empty where they share no stretch of positive length, except for a single curve, which is its own mean.
    """
    if len(curves) == 1:
        return curves[0]
    start, stop = max(curve[0, 0] for curve in curves), min(curve[0, -1] for curve in curves)
    if start >= stop:
        return np.empty((2, 0))
    places = np.unique(np.concatenate([curve[0] for curve in curves]))
    places = places[(places >= start) & (places <= stop)]
    return np.stack([places, np.mean([np.interp(places, *curve) for curve in curves], axis=0)])


def _kind(comparison: Comparison) -> str:
    """What the scores are, where they are no likelihoods: a plot that leaves the page must still say so."""
    return "" if all(run.causal for run in comparison.runs) else "Pseudo-likelihood"


def _file(kind: str, name: str) -> str:
    return f"{kind.lower()}-{name}" if kind else name


def _curve(run: RunResult, along: Literal["characters", "seconds"]) -> Curve:
    points = [
        (float(evaluation.characters if along == "characters" else evaluation.seconds), evaluation.bits)
        for evaluation in run.scored
    ]
    points = sorted(point for point in points if np.isfinite(point[0]))
    return np.array(points).T if points else np.empty((2, 0))


def _dot(curve: Curve) -> str | None:
    """A curve of a few points shows them."""
    return "o" if curve.shape[1] <= 12 else None


def _distance_axis(axes: Axes, places: NDArray[np.float64], unit: str, along: str) -> None:
    positive = places[places > 0]
    if positive.size and positive.max() >= 8 * positive.min():
        axes.set_xscale("log")
        # An evaluation before the first step has no place on a logarithmic axis.
        axes.set_xlim(positive.min() / 1.05, positive.max() * 1.02)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    else:
        axes.set_xlim(left=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.set_xlabel(f"{unit}s trained on" if along == "characters" else "seconds of training")


def _score_axis(axes: Axes, scores: NDArray[np.float64]) -> None:
    # One exploded run would press every other curve into a line at the bottom.
    lowest, highest = float(scores.min()), float(min(scores.max(), scores.min() + 5.0))
    margin = max(0.05 * (highest - lowest), 0.01)
    axes.set_ylim(lowest - margin, highest + margin)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    ruled(axes)
