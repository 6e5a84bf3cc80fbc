"""How networks use the context of real text: loss against context length, and closing characters."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.comparison.intervals import binomial_bounds, fraction_bounds
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import (
    ExperimentResult,
    MetricValue,
    colors,
    difference_metric,
    experiment,
    runs_table,
)
from charlstm.memory.experiments.gradient_curves import GradientCurves
from charlstm.memory.experiments.text_gates import TextGates
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.distance_plots import context_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.report.estimate_plots import Estimate, distance_plot
from charlstm.text.visible import visible
from charlstm.units import bits

GRADIENT_TEXTS = 100
"""Number of segments of the text over which gradients are averaged."""

BLOCKS = 50
"""Blocks of the targets, whose means are compared, since the losses of neighboring characters are correlated."""

WHAT = (
    "All measurements are on the test split, the end of the text, which selected neither a checkpoint nor a learning "
    "rate. The same characters are predicted with different lengths of context: the state is set to zero that many "
    "characters before the target, and the characters between are read (Khandelwal et al. 2018). Where a curve is "
    "flat, its network does not use more context. The n-gram model (modified Kneser-Ney, Chen & Goodman 1999) was "
    "estimated on the same training text. Differences between two arms are paired by seed and by position."
)
CLOSING = (
    "Closing brackets, closing quotes and line ends depend on an earlier character (Karpathy, Johnson & Fei-Fei 2015). "
    "How often is each of them the most probable character, given all its context, by the distance to the character "
    "that it closes? The vertical lines are intervals over seeds and positions."
)


def text_groups(config: MemoryConfig, grid: Grid) -> dict[str, RunGroup]:
    """The run groups of the arms on the real text."""
    section = config.experiments.text
    assert section is not None
    return grid.run_groups("text", grid.texts.existing("text", section.corpus), section.arms)


@experiment("text")
class TextExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.text
        assert section is not None
        self._config, self._grid, self._section, self._context_lengths = (
            config,
            grid,
            section,
            sorted(set(section.context_lengths)),
        )
        self._text = text_groups(config, grid)
        self._closing = self._text
        if section.closing_text is not None:
            arms = section.closing_text_arms or section.arms
            self._closing = grid.run_groups("text", grid.texts.existing("closing", section.closing_text), arms)
        self._gates = TextGates(config, grid, {arm: self._text[arm] for arm in section.gate_arms})
        arguments = {"depth": section.gradient_depth, "texts": GRADIENT_TEXTS}
        self._gradients = GradientCurves(
            config, grid, self._text if section.gradient_depth else {}, arguments, "on text"
        )

    def metric_names(self) -> list[str]:
        differences = [f"bits minus {arm}" for arm in self._section.arms]
        return ["bits per character", *differences, *self._gradients.metric_names()]

    def run_groups(self) -> list[RunGroup]:
        return [*self._text.values(), *self._closing.values()]

    def _contexts(self, arm: str) -> list[MeasurementJob]:
        arguments = {"context_lengths": self._context_lengths, "targets": self._section.targets}
        return self._grid.measurement_jobs(self._text[arm], "context_loss", arguments)

    def _closings(self, arm: str) -> list[MeasurementJob]:
        return self._grid.measurement_jobs(self._closing[arm], "closing_characters", {})

    def _ngram(self, groups: dict[str, RunGroup]) -> MeasurementJob:
        """The n-gram measurement, which depends only on the text: any run of the groups will do."""
        return self._grid.measurement_jobs(next(iter(groups.values())), "ngram", {"order": self._section.ngram})[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        contexts = [job for arm in self._text for job in self._contexts(arm)]
        closings = [job for arm in self._closing for job in self._closings(arm)]
        return [
            *contexts,
            *closings,
            self._ngram(self._text),
            self._ngram(self._closing),
            *self._gates.measurement_jobs(),
            *self._gradients.measurement_jobs(),
        ]

    def _nats(self, arm: str) -> npt.NDArray[np.float64]:
        """-ln p of each target for each length of context and each seed, [context lengths, seeds, targets]."""
        return np.stack([job.result()["nats"] for job in self._contexts(arm)], axis=1)

    def result(self) -> ExperimentResult:
        arms, color_numbers = self._section.arms, colors(self._config)
        nats = {arm: self._nats(arm) for arm in arms}
        curves = {arm: [_mean(row) for row in rows] for arm, rows in nats.items()}
        metrics: dict[tuple[str, str], MetricValue] = {}
        rows = []
        blocks = {arm: np.array([job.result()["blocks"] for job in self._contexts(arm)]) for arm in arms}
        for arm in arms:
            metrics["bits per character", arm] = difference_metric(bits(1) * blocks[arm], "bits")
            for other in arms:
                if other != arm:
                    metrics[f"bits minus {other}", arm] = difference_metric(
                        bits(1) * (blocks[arm] - blocks[other]), "bits", "+"
                    )
            bits_text = metrics["bits per character", arm].text.removesuffix(" bits")
            rows.append([visible(arm), bits_text, *(f"{value:.3f}" for value, _, _ in curves[arm])])
        differences = [
            f"{arms[0]} minus {other}: {metric.text} ({metric.interval})."
            for other in arms[1:]
            for metric in [metrics[f"bits minus {other}", arms[0]]]
        ]
        ngram = self._ngram(self._text).result()
        plot = context_plot(self._context_lengths, curves, color_numbers, (self._section.ngram, bits(ngram["nats"])))
        table = Table(
            ["arm", "all context", *(f"{n} characters" for n in self._context_lengths)],
            rows,
            caption=f"Bits per character, mean over seeds, by characters of context; {self._section.targets} "
            f"targets. {self._section.ngram}-gram model, full split: {bits(ngram['nats']):.3f}",
            colors=[color_numbers[arm] for arm in arms],
        )
        closing_plots, tables = self._by_distance()
        gates = self._gates.result().section if self._section.gate_arms else Section("")
        gradients = ExperimentResult(Section(""), {})
        if self._section.gradient_depth:
            gradients = self._gradients.result()
            metrics |= gradients.metrics
        section = Section(
            title="Real text",
            paragraphs=[
                WHAT,
                f"Over the full test split: {' '.join(differences)}",
                CLOSING,
                *gradients.section.paragraphs,
                *gates.paragraphs,
            ],
            figures=[
                figure
                for figure in (plot, *closing_plots, *gradients.section.figures, *gates.figures)
                if figure is not None
            ],
            tables=[table, *tables, *gradients.section.tables, runs_table(self._grid, self.run_groups())],
            data={
                "context_lengths": self._context_lengths,
                "bits": {arm: [list(estimate) for estimate in curve] for arm, curve in curves.items()},
                "ngram": ngram,
                **gradients.section.data,
                **gates.data,
                "closing_characters": {arm: [job.result() for job in self._closings(arm)] for arm in self._closing},
            },
        )
        return ExperimentResult(section, metrics)

    def _by_distance(self) -> tuple[list[Figure | None], list[Table]]:
        """A plot and a table for each kind of closing character."""
        results = {arm: [job.result() for job in self._closings(arm)] for arm in self._closing}
        results[f"{self._section.ngram}-gram"] = [self._ngram(self._closing).result()["closing_characters"]]
        color_numbers = {**colors(self._config), f"{self._section.ngram}-gram": len(self._config.arms)}
        plots, tables = [], []
        kinds = next(iter(results.values()))[0]
        for kind in kinds:
            bins = [one for one in kinds[kind] if one["count"]]
            if not bins:
                continue
            names = [f"{one['low']}–{one['high']}" if one["high"] else f"{one['low']}+" for one in bins]
            counts = [one["count"] for one in bins]
            curves = {arm: [_accuracy(runs, kind, one["low"]) for one in bins] for arm, runs in results.items()}
            plot_name = f"closing-{'-'.join(kind.split())}"
            plots.append(distance_plot(names, counts, curves, color_numbers, plot_name, f"Correct predictions: {kind}"))
            tables.append(
                Table(
                    ["distance", "positions", *map(visible, curves)],
                    [
                        [bin_name, f"{count:,}", *(f"{curve[index][0]:.1%}" for curve in curves.values())]
                        for index, (bin_name, count) in enumerate(zip(names, counts, strict=True))
                    ],
                    caption=f"Fraction of {kind} that are the most probable character, by distance",
                    folded=True,
                )
            )
        return plots, tables


def _mean(nats: npt.NDArray[np.float64]) -> Estimate:
    """Mean bits per character of nats [seeds, targets], with the interval over seeds and blocks of the text."""
    blocks = np.array_split(bits(1) * nats, min(BLOCKS, nats.shape[1]), axis=1)
    metric = difference_metric(np.stack([block.mean(1) for block in blocks], 1), "bits")
    return bits(float(nats.mean())), metric.low, metric.high


def _accuracy(runs: list[dict[str, Any]], kind: str, low: int) -> Estimate:
    """Accuracy at the positions of a bin, mean over runs; one run has an interval over the positions only."""
    bins = [one for run in runs for one in run[kind] if one["low"] == low]
    count, fractions = bins[0]["count"], [one["correct"] / one["count"] for one in bins]
    bounds = fraction_bounds(fractions, count)
    if len(bins) == 1:
        bounds = binomial_bounds(bins[0]["correct"], count)
    return statistics.fmean(fractions), *(bounds or (float("nan"), float("nan")))
