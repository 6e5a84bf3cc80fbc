"""How networks use the context of a real text: loss against its length, and with the far context changed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, difference_metric
from charlstm.report.distance_plots import context_plot
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate
from charlstm.text.visible import visible
from charlstm.units import bits

CHANGES = {"cut": "nothing", "shuffled": "the same characters in random order", "replaced": "other text"}

WORTH = {"cut": "", "replaced": " to other text"}
"""The changes that have metrics, and how the names of these end. A network that is cut off also suffers from a state of
zeros, which it seldom met in training; one that reads other text does not."""

WHAT = (
    "All other measurements are on the test split, the end of the text, which selected neither a checkpoint nor a "
    "learning rate. The same characters are predicted with different lengths of context: the state is set to zero "
    "that many characters before the target, and the characters between are read (Khandelwal et al. 2018). Where a "
    "curve is flat, its network does not use more context. The n-gram model (modified Kneser-Ney, Chen & Goodman 1999) "
    "was estimated on the same training text. Differences between two arms are paired by seed and by position."
)
FAR = (
    "What do networks take from the far context? Before the characters that are left as they are stands nothing, the "
    "same characters in random order, or text from elsewhere, up to {longest} characters in all: where shuffled "
    "characters do as well as the right ones, their order does not matter; where other text does as well, what they "
    "are does not matter, either."
)


class ContextUse(TextPart):
    """The score of each arm on the test split, and its loss against the length of context."""

    def __init__(self, config: MemoryConfig, grid: Grid, groups: Mapping[str, RunGroup]) -> None:
        super().__init__(config, grid, groups)
        far_lengths, self._lengths = self._section.far_lengths, sorted(set(self._section.context_lengths))
        self._far_lengths = sorted({*far_lengths, self._lengths[-1]}) if far_lengths else []

    def metric_names(self) -> list[str]:
        lost = [_lost(length, far) for far in WORTH for length in self._far_lengths[:-1]]
        return ["bits per character", *(f"bits minus {arm}" for arm in self._groups), *lost]

    def _contexts(self, arm: str) -> list[MeasurementJob]:
        arguments = {"context_lengths": self._lengths, "targets": self._section.targets}
        return self._measurement_jobs(arm, "context_loss", arguments)

    def _far_contexts(self, arm: str, far: str) -> list[MeasurementJob]:
        arguments = {"context_lengths": self._far_lengths, "targets": self._section.targets, "far": far}
        return self._measurement_jobs(arm, "far_context_loss", arguments)

    def _ngram(self) -> MeasurementJob:
        """The n-gram measurement, which depends only on the text: any run will do."""
        return self._measurement_jobs(next(iter(self._groups)), "ngram", {"order": self._section.ngram})[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        far = [
            job for arm in self._groups for far in CHANGES if self._far_lengths for job in self._far_contexts(arm, far)
        ]
        return [*(job for arm in self._groups for job in self._contexts(arm)), *far, self._ngram()]

    def result(self) -> ExperimentResult:
        curves = {arm: [self._mean(row, arm) for row in _nats(self._contexts(arm))] for arm in self._groups}
        metrics = self._metrics()
        baseline = self._section.baseline()
        differences = [
            f"{visible(arm)} minus {visible(baseline)}: {metric.text}"
            + (f" ({bounds})." if (bounds := metric.interval or metric.reason) else ".")
            for arm in self._groups
            if arm != baseline
            for metric in [metrics[f"bits minus {baseline}", arm]]
        ]
        ngram, order = self._ngram().result(), self._section.ngram
        plot = context_plot(self._lengths, curves, self._colors, (order, bits(ngram["nats"])))
        rows = []
        for arm, curve in curves.items():
            all_context = metrics["bits per character", arm].text.removesuffix(" bits")
            rows.append([visible(arm), *(f"{value:.3f}" for value, _, _ in curve), all_context])
        table = Table(
            ["arm", *(f"{n} characters" for n in self._lengths), "whole split, all context"],
            rows,
            caption=f"Bits per character, mean over seeds, by characters of context; the same "
            f"{self._section.targets:,} targets for each length, and the whole split, on which the {order}-gram model "
            f"has {bits(ngram['nats']):.3f}",
            colors=[self._colors[arm] for arm in self._groups],
        )
        overall = [f"Over the full test split: {' '.join(differences)}"] if differences else []
        section = Section(
            title="How much context is used",
            paragraphs=[WHAT, *overall, *([FAR.format(longest=self._lengths[-1])] if self._far_lengths else [])],
            figures=[plot] if plot else [],
            tables=[table, *([self._far_table()] if self._far_lengths else [])],
            data={
                "context_lengths": self._lengths,
                "bits": {arm: [list(estimate) for estimate in curve] for arm, curve in curves.items()},
                "ngram": ngram,
            },
        )
        return ExperimentResult(section, metrics)

    def _metrics(self) -> dict[tuple[str, str], MetricValue]:
        """The score of each arm on the whole test split, all differences, and what the far context is worth."""
        metrics: dict[tuple[str, str], MetricValue] = {}
        blocks = {arm: np.array([job.result()["blocks"] for job in self._contexts(arm)]) for arm in self._groups}
        for arm in self._groups:
            metrics["bits per character", arm] = difference_metric(
                bits(1) * blocks[arm], "bits", missing=len(self._diverged(arm))
            )
            for other in self._groups:
                if other != arm:
                    gains, missing = bits(1) * self._minus(blocks, arm, other), len(self._diverged(arm, other))
                    metrics[f"bits minus {other}", arm] = difference_metric(gains, "bits", "+", missing)
            for far in WORTH if self._far_lengths else ():
                nats = _nats(self._far_contexts(arm, far))
                for length, row in zip(self._far_lengths[:-1], nats, strict=False):
                    metrics[_lost(length, far), arm] = self._difference(row - nats[-1], arm)
        return metrics

    def _mean(self, nats: npt.NDArray[np.float64], arm: str) -> Estimate:
        """Mean bits per character of nats [seeds, targets], with the interval over seeds and blocks of the text."""
        return self._difference(nats, arm).estimate

    def _far_table(self) -> Table:
        """What each arm loses where the far context is changed, relative to all of it."""
        rows, row_colors = [], []
        for arm in self._groups:
            for far, text in CHANGES.items():
                nats = _nats(self._far_contexts(arm, far))
                cells = [self._mean(row - nats[-1], arm) for row in nats[:-1]]
                rows.append([visible(arm), text, *(_with_error(*cell) for cell in cells)])
                row_colors.append(self._colors[arm])
        caption = (
            f"Bits per character lost by what stands before the last characters that are left as they are, relative to "
            f"{self._lengths[-1]:,} characters of the text itself; mean over seeds, ± half of the distance "
            "from the lower to the upper 95% bound"
        )
        header = ["arm", "before them", *(f"{n} left" for n in self._far_lengths[:-1])]
        return Table(header, rows, caption=caption, colors=row_colors)


def _nats(jobs: list[MeasurementJob]) -> npt.NDArray[np.float64]:
    """-ln p of each target for each length of context and each seed, [lengths, seeds, targets]."""
    return np.stack([job.result()["nats"] for job in jobs], axis=1)


def _lost(length: int, far: str) -> str:
    """The name of a metric: what is lost where nothing or other text stands before the last ``length`` characters."""
    return f"bits lost beyond {length} characters" + WORTH[far]


def _with_error(value: float, low: float, high: float) -> str:
    """``+0.012 ± 0.004``: half of the interval."""
    return f"{value:+.3f}" + ("" if math.isnan(low) else f" ± {(high - low) / 2:.3f}")
