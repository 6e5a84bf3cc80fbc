"""Learning curves of runs, from their metrics. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlstm.report.axes import End, amount_axis, label_ends, label_row, labeled_canvas, score_axis
from charlstm.report.document import Figure
from charlstm.report.drawing import (
    INK,
    MUTED,
    canvas,
    color,
    compact,
    finish,
    placeholder_on_error,
    stroke,
    style,
)
from charlstm.report.labels import distinct
from charlstm.runs.metrics import evaluated_nats, whole_split_nats
from charlstm.text.visible import visible
from charlstm.units import bits

Along = Literal["characters", "seconds", "steps"]
FEW_POINTS = 30
MARGIN = 1.0
"""Bits above the scores that are shown of the training loss, which begins at the size of the alphabet."""


@dataclass(frozen=True)
class Curves:
    """The curves of a run: points (characters, seconds, steps, bits) of training [P, 4] and of evaluations [Q, 4].

    is_pseudo_likelihood: whether the evaluations are those of a bidirectional model.
    is_held_out: whether they are scores of held-out text, not of training text.
    is_sampled: whether they are scores of a sample of the held-out text.
    whole: the best and the last network's scores on all of it, in bits, at the end of a run that scores a sample.
    raw: held-out scores of the trained weights, [R, 4], where `evaluations` has those of their average.
    """

    training: NDArray[np.float64]
    evaluations: NDArray[np.float64]
    is_pseudo_likelihood: bool = False
    is_held_out: bool = True
    is_sampled: bool = False
    whole: Mapping[str, float] = field(default_factory=dict)
    raw: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))

    @property
    def kind(self) -> str:
        """What the scores are, in words."""
        pseudo = ["pseudo-likelihood"] if self.is_pseudo_likelihood else []
        if self.is_held_out:
            return (pseudo[0] if pseudo else "held out") + (" sample" if self.is_sampled else "")
        return ", ".join(["training text", *pseudo])

    def best(self) -> NDArray[np.float64] | None:
        """The evaluation with the lowest held-out score, [4], with the score on the whole held-out text, if that is
        known; None without one."""
        if not self.is_held_out or not len(self.evaluations):
            return None
        best: NDArray[np.float64] = self.evaluations[int(self.evaluations[:, 3].argmin())].copy()
        best[3] = self.whole.get("best", best[3])
        return best

    @property
    def best_text(self) -> str:
        """What the best score is of: the held-out text, or a sample of it."""
        return "a sample of the held-out text" if self.is_sampled and not self.whole else "held-out text"


def read_curves(records: Sequence[Mapping[str, Any]]) -> Curves:
    """The curves in the records of a run."""

    def points(kind: str, nats: Callable[[Mapping[str, Any]], float | None]) -> NDArray[np.float64]:
        values = [(record, nats(record)) for record in records if record["kind"] == kind]
        rows = [(r["characters"], r["seconds"], r["step"], bits(value)) for r, value in values if value is not None]
        return np.array(rows, np.float64).reshape(-1, 4)

    return Curves(
        training=points("train", itemgetter("nats")),
        evaluations=points("evaluation", evaluated_nats),
        is_pseudo_likelihood=any(record.get("pseudo_likelihood") for record in records),
        is_held_out=all(record["nats"] is not None for record in records if record["kind"] == "evaluation"),
        is_sampled=any(record.get("sampled_from") is not None for record in records),
        whole={name: bits(nats) for name, nats in whole_split_nats(records).items()},
        raw=points("evaluation", lambda record: record.get("raw_nats")),
    )


def _limit(runs: Iterable[Curves]) -> float:
    """The highest score to show, in bits."""
    return max((float(run.evaluations[:, 3].max()) + MARGIN for run in runs if len(run.evaluations)), default=math.inf)


def _lowest(runs: Iterable[Curves]) -> float | None:
    """The lowest score of an evaluation, in bits."""
    return min((float(run.evaluations[:, 3].min()) for run in runs if len(run.evaluations)), default=None)


def _column(along: Along) -> int:
    return ("characters", "seconds", "steps").index(along)


def _label(along: Along, unit: str) -> str:
    return {"characters": f"{unit}s trained on", "seconds": "seconds of training", "steps": "training steps"}[along]


@placeholder_on_error
def learning_curve(curves: Curves, unit: str, along: Along = "characters") -> Figure | None:
    """Plot the training loss and the scores of one run, with the best held-out score marked; None without both."""
    if not len(curves.training) + len(curves.evaluations):
        return None
    x, best = _column(along), curves.best()
    with style():
        figure, axes, gap = labeled_canvas(3 + bool(len(curves.raw)))
        ends, descriptions = [], []
        for name, points, shade, linewidth in (
            ("training", curves.training, MUTED, 1.2),
            ("raw weights", curves.raw, color(2), 1.2),
            (curves.kind, curves.evaluations, color(0), 2.2),
        ):
            if not len(points):
                continue
            marker = "o" if name != "training" and len(points) <= FEW_POINTS else None
            axes.plot(points[:, x], points[:, 3], marker=marker, markersize=4, color=shade, linewidth=linewidth)
            ends.append(End(f"{name} {points[-1, 3]:.2f}", shade, float(points[-1, x]), float(points[-1, 3])))
            descriptions.append(f"{name} goes from {points[0, 3]:.2f} to {points[-1, 3]:.2f} bits.")
        points = np.concatenate([curves.training, curves.evaluations, curves.raw])
        amount_axis(axes, points[:, x])
        score_axis(axes, np.minimum(points[:, 3], _limit([curves])), _lowest([curves]))
        if best is not None:
            ring: dict[str, Any] = {
                "markersize": 11,
                "markerfacecolor": "none",
                "markeredgewidth": 1.8,
                "clip_on": False,
            }
            axes.plot(best[x], best[3], "o", color=color(1), **ring)
            whole = ", all held out" if curves.whole else ""
            ends.append(End(f"best {best[3]:.3f}{whole}", color(1), float(best[x]), float(best[3])))
            descriptions.append(f"The best is {best[3]:.3f} bits at step {int(best[2]):,}.")
        axes.set_xlabel(_label(along, unit))
        axes.set_title(f"Bits per {unit}")
        label_ends(axes, ends, gap)
        alt = f"Line plot of bits per {unit} over {_label(along, unit)}. " + " ".join(descriptions)
        ring_text = "" if best is None else f" The ring is the best score of {curves.best_text}."
        return finish(figure, f"learning-curve-{along}", alt, f"Lower is better.{ring_text}")


@placeholder_on_error
def several_curves(runs: Mapping[str, Curves], unit: str, along: Along, with_training: bool) -> Figure | None:
    """Plot the scores of several runs, and with `with_training` their training losses, thin; None without. Scores that
    are not of held-out text, or losses of a run without a score, are named."""
    drawn = {name: curves for name, curves in runs.items() if len(curves.evaluations) or len(curves.training)}
    if not drawn:
        return None
    x = _column(along)
    with style():
        figure, axes, gap = labeled_canvas(len(drawn))
        ends, descriptions, used = list[End](), list[str](), list[NDArray[np.float64]]()
        labels = distinct(drawn)
        for number, (name, curves) in enumerate(drawn.items()):
            is_scored = len(curves.evaluations) > 0
            main = curves.evaluations if is_scored else curves.training
            is_held_out = is_scored and curves.is_held_out
            label = labels[name] + ("" if is_held_out else ", training text")
            label += ", sample" if is_held_out and curves.is_sampled else ""
            marker = "o" if len(main) <= FEW_POINTS else None
            axes.plot(main[:, x], main[:, 3], linewidth=2.0, marker=marker, markersize=4, **stroke(number))
            used.append(main)
            if with_training and len(curves.training):
                axes.plot(curves.training[:, x], curves.training[:, 3], linewidth=0.9, alpha=0.6, **stroke(number))
                used.append(curves.training)
            ends.append(End(f"{label} {main[-1, 3]:.2f}", color(number), float(main[-1, x]), float(main[-1, 3])))
            descriptions.append(f"{visible(name)} goes from {main[0, 3]:.2f} to {main[-1, 3]:.2f} bits.")
        points = np.concatenate(used)
        amount_axis(axes, points[:, x])
        score_axis(axes, np.minimum(points[:, 3], _limit(drawn.values())), _lowest(drawn.values()))
        axes.set_xlabel(_label(along, unit))
        is_held_out = all(len(curves.evaluations) and curves.is_held_out for curves in drawn.values())
        axes.set_title(f"Held-out bits per {unit}" if is_held_out else f"Bits per {unit}")
        label_ends(axes, ends, gap)
        return finish(figure, "learning-curves", " ".join(descriptions))


@placeholder_on_error
def ladder(scores: Sequence[tuple[str, float]], model: str, unit: str) -> Figure | None:
    """Plot scores in bits as dots, one row each, from the highest to the lowest; `model` is the row that stands out."""
    ordered = sorted(scores, key=lambda score: -score[1])
    with style():
        figure, axes = canvas(height=1.0 + 0.29 * len(ordered))
        highest = ordered[0][1]
        for row, (name, value) in enumerate(ordered):
            shade = color(0) if name == model else MUTED
            axes.hlines(row, 0, value, color=shade, linewidth=1.2, alpha=0.4)
            axes.plot(value, row, "o", color=shade, markersize=8 if name == model else 6)
            label_row(axes, row, f"{value:.3f}", color=shade, fontweight="bold" if name == model else "normal")
        labels = distinct((name for name, _ in ordered), 34)
        axes.set_yticks(range(len(ordered)), [labels[name] for name, _ in ordered], color=INK, fontsize=10)
        axes.set_ylim(len(ordered) - 0.5, -0.5)
        axes.set_xlim(0, highest * 1.04)
        axes.xaxis.set_major_formatter(lambda value, _: compact(value))
        axes.tick_params(axis="both", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_title(f"Held-out bits per {unit}")
        alt = f"Dot plot of held-out bits per {unit}. " + " ".join(f"{visible(n)}: {v:.3f}." for n, v in ordered)
        return finish(figure, "what-the-bits-mean", alt, "Lower is better.")
