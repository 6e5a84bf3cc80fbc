"""Where memory pays: characters that depend on something earlier, by kind and distance."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue
from charlstm.probes.dependencies import BINS, Kind
from charlstm.report.document import Figure, Section, Table
from charlstm.report.estimate_plots import difference_plot
from charlstm.text.visible import visible
from charlstm.units import bits

Bin = dict[str, Any]

MIN_POSITIONS = 50
"""Bins with fewer positions are left out: their intervals would say nothing."""

WHAT = (
    "Which characters does memory help to predict? Some characters of the test split depend on something earlier: a "
    "closing quote or bracket on the opening one, a line end on the beginning of the line, an indentation on the line "
    "before it, a speaker's name on the last time that it occurred, a repeated word on its last occurrence (as a "
    "control: words that did not occur before in the test split). "
    "The plots show by how many bits each arm predicts them better (below zero) or worse than {baseline}, by the "
    "distance to what they depend on; pairs of the same position and seed, with intervals over both. The dotted line "
    "is the {order}-gram model of the same text, which sees {context} characters."
)


class DependencyLosses(TextPart):
    """The loss at dependent characters of each arm and of an n-gram model, relative to that of one arm."""

    def metric_names(self) -> list[str]:
        """One for each kind and distance; there is a value if the text has enough of them."""
        return [self._metric_name(kind, low, high) for kind in get_args(Kind) for low, high in BINS]

    def _metric_name(self, kind: str, low: int, high: int | None) -> str:
        """``bits minus rnn: closing quote, 20 to 49 characters``."""
        distance = f"{low} characters or more" if high is None else f"{low} to {high} characters"
        return f"bits minus {self._section.baseline()}: {kind}, {distance if high != 0 else 'none earlier'}"

    def _jobs(self, arm: str) -> list[MeasurementJob]:
        arguments = {"max_positions": self._section.dependency_positions}
        return self._measurement_jobs(arm, "dependency_loss", arguments)

    def _ngram(self) -> MeasurementJob:
        """It depends only on the text: any run will do."""
        arguments = {"order": self._section.ngram, "max_positions": self._section.dependency_positions}
        return self._measurement_jobs(next(iter(self._groups)), "ngram_dependency_loss", arguments)[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [*(job for arm in self._groups for job in self._jobs(arm)), self._ngram()]

    def result(self) -> ExperimentResult:
        results = {arm: [job.result() for job in self._jobs(arm)] for arm in self._groups}
        ngram, order = self._ngram().result(), self._section.ngram
        figures: list[Figure] = []
        tables: list[Table] = []
        data: dict[str, Any] = {}
        metrics: dict[tuple[str, str], MetricValue] = {}
        for kind in ngram:
            chosen = [index for index, one in enumerate(ngram[kind]) if one["count"] >= MIN_POSITIONS]
            if not chosen:
                continue
            bins = [ngram[kind][index] for index in chosen]
            names = [_name(one) for one in bins]
            losses = {arm: [_losses(runs, kind, index) for index in chosen] for arm, runs in results.items()}
            baseline = self._section.baseline()
            gains = {
                arm: [
                    self._difference(self._minus({arm: one, baseline: other}, arm, baseline), arm, baseline)
                    for one, other in zip(by_bin, losses[baseline], strict=True)
                ]
                for arm, by_bin in losses.items()
                if arm != baseline
            }
            for arm, by_bin in gains.items():
                for one, gain in zip(bins, by_bin, strict=True):
                    metrics[self._metric_name(kind, one["low"], one["high"]), arm] = gain
            line = [
                bits(float(np.mean(one["nats"]))) - bits(float(other.mean()))
                for one, other in zip(bins, losses[baseline], strict=True)
            ]
            estimates = {arm: [one.estimate for one in by_bin] for arm, by_bin in gains.items()}
            figure = difference_plot(
                [_short_name(one) for one in bins],
                [len(one["nats"]) for one in bins],
                estimates,
                self._colors,
                (f"{order}-gram", line),
                f"dependency-{'-'.join(kind.split())}",
                f"Bits minus {self._section.baseline()}: {kind}",
            )
            figures += [figure] if figure else []
            tables.append(self._table(kind, names, bins, losses, gains))
            data[kind] = {"distances": names, "bits_minus_baseline": estimates, "ngram": line}
        what = WHAT.format(baseline=visible(self._section.baseline()), order=order, context=order - 1)
        section = Section(
            "Where memory pays", paragraphs=[what], figures=figures, tables=tables, data={"dependencies": data}
        )
        return ExperimentResult(section, metrics)

    def _table(
        self,
        kind: str,
        names: list[str],
        bins: list[Bin],
        losses: dict[str, list[npt.NDArray[np.float64]]],
        gains: dict[str, list[MetricValue]],
    ) -> Table:
        rows = []
        for index, (name, one) in enumerate(zip(names, bins, strict=True)):
            cells = [f"{bits(float(by_bin[index].mean())):.3f}" for by_bin in losses.values()]
            differences = [f"{metric.value:+.3f}{_span(metric)}" for metric in (g[index] for g in gains.values())]
            ngram = f"{bits(float(np.mean(one['nats']))):.3f}"
            rows.append([name, f"{len(one['nats']):,} of {one['count']:,}", *cells, ngram, *differences])
        header = ["distance", "positions", *map(visible, losses), f"{self._section.ngram}-gram"]
        header += [f"{visible(arm)} minus {visible(self._section.baseline())}" for arm in gains]
        caption = f"Bits per character: {kind}; in brackets one-sided 95% bounds"
        return Table(header, rows, caption=caption, folded=True)


def _name(one: Bin) -> str:
    return "no earlier" if one["high"] == 0 else f"{one['low']}–{one['high']}" if one["high"] else f"{one['low']}+"


def _short_name(one: Bin) -> str:
    return "none" if one["high"] == 0 else f"{one['low']}" if one["high"] else f"{one['low']}+"


def _losses(runs: list[dict[str, list[Bin]]], kind: str, index: int) -> npt.NDArray[np.float64]:
    """-ln p in nats, [seeds, positions]."""
    return np.array([run[kind][index]["nats"] for run in runs], np.float64)


def _span(metric: MetricValue) -> str:
    return "" if math.isnan(metric.low) else f" ({metric.low:+.3f} to {metric.high:+.3f})"
