"""Held-out loss against the number of characters that were read in training."""

from __future__ import annotations

import math
import statistics
from itertools import groupby

from charlstm.comparison.plots import learning_curves
from charlstm.comparison.results import Arm, Comparison, Evaluation, RunResult
from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.report.document import Section, Table
from charlstm.report.drawing import compact
from charlstm.runs.directory import RunDirectory
from charlstm.text.visible import visible

WHAT = (
    "All arms read the same text in the same order, each from the start and with the learning rate that other seeds "
    "selected. The curves are the loss on the validation split during training."
)
KARPATHY = (
    "For comparison: Karpathy, Johnson & Fei-Fei 2015 trained one layer of 128 units on War and Peace for 50 epochs, "
    "and reached 1.417 nats per character with a plain RNN, 1.277 with an LSTM and 1.230 with a GRU (2.04, 1.84 and "
    "1.77 bits)."
)
POINTS = 6
"""Number of points of the training for which the table has the loss."""


class Learning(TextPart):
    """The curves of each arm, and which arm leads when."""

    def _runs(self, arm: str) -> list[RunResult]:
        best, diverged = self._grid.best_runs(self._groups[arm]), self._diverged(arm)
        return [
            _run(arm, path, seed, self._groups[arm].parameters)
            for path, seed in zip(map(RunDirectory, best.paths), self._config.judged_seeds(), strict=True)
            if seed not in diverged
        ]

    def result(self) -> ExperimentResult:
        arms = [Arm(arm, self._runs(arm)) for arm in self._groups]
        plot = learning_curves(Comparison("", arms, "", [], "", []), "characters", self._colors)
        curves = {arm.name: _mean_curve(arm.runs) for arm in arms}
        common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
        section = Section(
            title="Who predicts better, and when",
            paragraphs=[
                WHAT,
                *_leaders(common, curves),
                *([KARPATHY] if self._section.corpus.source == "warpeace" else []),
            ],
            figures=[plot] if plot else [],
            tables=[self._table(common, curves)] if common else [],
            data={"learning": {arm: {str(n): bits for n, bits in curve.items()} for arm, curve in curves.items()}},
        )
        return ExperimentResult(section, {})

    def _table(self, common: list[int], curves: dict[str, dict[int, float]]) -> Table:
        shown = [common[round(index * (len(common) - 1) / (POINTS - 1))] for index in range(POINTS)]
        shown = list(dict.fromkeys(shown))
        rows = []
        for arm, group in self._groups.items():
            best = self._grid.best_runs(group)
            initialization = best.group.arm.removeprefix(f"{arm}, ") if best.group.arm != arm else "–"
            rows.append(
                [
                    visible(arm),
                    visible(initialization),
                    f"{best.learning_rate:g}",
                    str(best.group.model.hidden_size),
                    f"{best.group.parameters:,}",
                    *(f"{curves[arm][n]:.3f}" for n in shown),
                ]
            )
        header = ["arm", "initialization", "rate", "units", "parameters", *(_count(n) for n in shown)]
        caption = "Bits per character of the validation split after that many characters of training, mean over seeds"
        return Table(header, rows, caption=caption, colors=[self._colors[arm] for arm in self._groups])


def _run(arm: str, directory: RunDirectory, seed: int, parameters: int) -> RunResult:
    """The learning curve of a run; the other fields are not used."""
    evaluations = [
        Evaluation(one["step"], one["characters"], one["seconds"], one["nats"])
        for one in directory.metrics()
        if one["kind"] == "evaluation" and one["nats"] is not None
    ]
    return RunResult(arm, seed, parameters, {}, evaluations, [], math.nan, math.nan, "", True, True)


def _mean_curve(runs: list[RunResult]) -> dict[int, float]:
    """Characters of training -> mean bits over the runs, where all of them were evaluated."""
    by_run = [{one.characters: one.bits for one in run.scored} for run in runs]
    common = set.intersection(*(set(curve) for curve in by_run)) if by_run else set()
    return {n: statistics.fmean(curve[n] for curve in by_run) for n in sorted(common)}


def _leaders(common: list[int], curves: dict[str, dict[int, float]]) -> list[str]:
    """Which arm has the lowest loss from which number of characters on; empty for a single arm."""
    if len(curves) < 2 or not common:
        return []
    leaders = [(min(curves, key=lambda arm: curves[arm][n]), n) for n in common]
    spans = [(arm, [n for _, n in span]) for arm, span in groupby(leaders, key=lambda one: one[0])]
    changes = groupby(((arm, span[0]) for arm, span in spans if len(span) > 1), key=lambda one: one[0])
    texts = [f"{visible(arm)} from {_count(next(first)[1])} characters on" for arm, first in changes]
    return [f"Lowest mean loss at two evaluations or more: {', then '.join(texts)}."] if texts else []


def _count(characters: int) -> str:
    """820k, 1.6M."""
    return compact(float(f"{characters:.2g}"))
