"""The plots of a comparison: learning curves and final scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from charlstm.comparison.results import Comparison, RunResult
from charlstm.comparison.statistics import summarize
from charlstm.report.axes import End, amount_axis, label_ends, label_row, labeled_canvas, score_axis
from charlstm.report.document import Figure
from charlstm.report.drawing import INK, canvas, color, finish, placeholder_on_error, stroke, style
from charlstm.report.labels import distinct
from charlstm.text.visible import visible

Curve = NDArray[np.float64]
"""[2, points]: characters or seconds of training, and the score in bits."""


@placeholder_on_error
def learning_curves(
    comparison: Comparison, along: Literal["characters", "seconds"], colors: dict[str, int]
) -> Figure | None:
    """Plot held-out bits over characters trained on, or over seconds of training; None without a score.

    `comparison` must have only causal runs or only bidirectional ones; `colors` has each arm's color number.
    """
    unit = comparison.unit
    curves = {arm.name: [c for run in arm.runs if (c := _curve(run, along)).size] for arm in comparison.arms}
    curves = {name: drawn for name, drawn in curves.items() if drawn}
    if not curves:
        return None
    sampled = {arm.name for arm in comparison.arms if any(run.samples for run in arm.runs)}
    with style():
        figure, axes, gap = labeled_canvas(len(curves))
        all_points = np.concatenate([curve for drawn in curves.values() for curve in drawn], axis=1)
        starts, ends, labels = list[float](), list[End](), distinct(curves)
        for name, drawn in curves.items():
            line_style = stroke(colors[name])
            mean = mean_curve(drawn)
            if len(drawn) > 1:
                for curve in drawn:
                    axes.plot(*curve, linewidth=0.8, alpha=0.45, marker=_marker(curve), markersize=3, **line_style)
            if mean.size:
                axes.plot(*mean, linewidth=2.2, marker=_marker(mean), markersize=5, **line_style)
            labeled = mean if mean.size else drawn[0]
            starts.append(float(labeled[1, 0]))
            end = labeled[:, -1]
            label = labels[name] + ", sample" * (name in sampled)
            ends.append(End(f"{label} {end[1]:.2f}", line_style["color"], float(end[0]), float(end[1])))
        amount_axis(axes, all_points[0])
        axes.set_xlabel(f"{unit}s trained on" if along == "characters" else "seconds of training")
        score_axis(axes, all_points[1])
        label_ends(axes, ends, gap)
        kind = _score_kind(comparison)
        axes.set_title(f"{kind or 'Held-out'} bits per {unit}")
        several = any(len(drawn) > 1 for drawn in curves.values())
        x_label = f"{unit}s trained on" if along == "characters" else "seconds of training"
        alt = f"Line plot of {kind or 'held-out'} bits per {unit} over {x_label}. " + " ".join(
            f"{visible(name)} goes from {start:.2f} to {end.y:.2f} bits."
            for name, start, end in zip(curves, starts, ends, strict=True)
        )
        caption = f"Over {x_label}; lower is better." + (
            " Bold: mean over seeds, where all of them have points. Thin: each seed." if several else ""
        )
        caption += _on_all_text(comparison) if sampled else ""
        name = _plot_name(kind, "learning-curves-" + (f"{unit}s" if along == "characters" else along))
        return finish(figure, name, alt, caption)


@placeholder_on_error
def final_scores(comparison: Comparison, colors: dict[str, int]) -> Figure | None:
    """Plot each run's best held-out bits as a dot and the arm's mean as a line; None without a score."""
    summaries = [summary for arm in comparison.arms if (summary := summarize(arm)).bits]
    if not summaries:
        return None
    unit = comparison.unit
    with style():
        figure, axes = canvas(height=1.1 + 0.5 * len(summaries))
        for row, summary in enumerate(summaries):
            values, shade = [value for _, value in summary.bits], color(colors[summary.name])
            mean = summary.mean_bits if summary.mean_bits is not None else values[0]
            if len(values) > 1:
                axes.plot([min(values), max(values)], [row, row], color=shade, linewidth=1.5, alpha=0.5)
                axes.plot([mean, mean], [row - 0.22, row + 0.22], color=shade, linewidth=2.4)
            axes.plot(values, [row] * len(values), "o", color=shade, markersize=7, alpha=0.75, markeredgewidth=0)
            label_row(axes, row, f"{mean:.3f}", color=shade, fontweight="bold")
        labels = distinct(summary.name for summary in summaries)
        axes.set_yticks(range(len(summaries)), [labels[summary.name] for summary in summaries], color=INK)
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
        kind = _score_kind(comparison)
        axes.set_title(f"Best {kind.lower() or 'held-out'} bits per {unit}")
        several = any(len(summary.bits) > 1 for summary in summaries)
        alt = f"Dot plot of the best {kind or 'held-out'} bits per {unit} of each run. " + " ".join(
            f"{visible(summary.name)}: mean {summary.mean_bits:.3f}, "
            f"from {summary.lowest_bits:.3f} to {summary.highest_bits:.3f}."
            for summary in summaries
        )
        caption = "Each dot is one seed; the vertical line and the number are the mean." if several else ""
        return finish(figure, _plot_name(kind, f"final-bits-per-{unit}"), alt, caption)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean of curves over the range that all of them cover, with linear interpolation between their points.

    Empty if they have no common point; a single curve is returned as it is.
    """
    if len(curves) == 1:
        return curves[0]
    start, stop = max(curve[0, 0] for curve in curves), min(curve[0, -1] for curve in curves)
    if start > stop:
        return np.empty((2, 0))
    x = np.unique(np.concatenate([curve[0] for curve in curves]))
    x = x[(x >= start) & (x <= stop)]
    return np.stack([x, np.mean([np.interp(x, *curve) for curve in curves], axis=0)])


def _score_kind(comparison: Comparison) -> str:
    """The kind of score, if it is not a likelihood: a plot must name it even outside the page."""
    return "" if all(run.causal for run in comparison.runs) else "Pseudo-likelihood"


def _on_all_text(comparison: Comparison) -> str:
    """The best scores on all of the held-out text, which those of a sample in the curves are not."""
    sampled = [arm for arm in comparison.arms if any(run.samples for run in arm.runs)]
    known = [arm for arm in sampled if not any(run.has_sampled_score for run in arm.runs)]
    scores = [f"{visible(one.name)} {one.mean_bits:.3f}" for one in map(summarize, known) if one.mean_bits is not None]
    best = f"; on all of it, the best networks have {', '.join(scores)} (as in the table)" if scores else ""
    return f" The curves score a sample of the held-out text{best}."


def _plot_name(kind: str, name: str) -> str:
    return f"{kind.lower()}-{name}" if kind else name


def _curve(run: RunResult, along: Literal["characters", "seconds"]) -> Curve:
    points = [
        (float(evaluation.characters if along == "characters" else evaluation.seconds), evaluation.bits)
        for evaluation in run.scored
    ]
    points = sorted(point for point in points if np.isfinite(point[0]))
    return np.array(points).T if points else np.empty((2, 0))


def _marker(curve: Curve) -> str | None:
    """The marker for the points of a curve that has only a few."""
    return "o" if curve.shape[1] <= 12 else None
