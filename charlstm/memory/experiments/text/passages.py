"""Passages of the test split where one arm predicts much better than another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.document import Sample, Section
from charlstm.units import bits

LENGTH, BEFORE, SHOWN = 80, 120, 3
"""Characters of a passage and of the text that is shown before it, and the number of passages of each arm."""

WHAT = (
    "The passages of {length} characters where {arm}, the best of the other arms, leads {baseline} by most, by the "
    "mean over their seeds, and where {baseline} leads; with the text before them, and the passage in [brackets]."
)


class Passages(TextPart):
    """Passages where the best other arm leads the baseline most, and the other way round."""

    def _jobs(self, arm: str) -> list[MeasurementJob]:
        arguments = {"characters": self._section.passage_characters}
        return self._measurement_jobs(arm, "character_losses", arguments)

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for arm in self._groups for job in self._jobs(arm)]

    def result(self) -> ExperimentResult:
        results = {arm: [job.result() for job in self._jobs(arm)] for arm in self._groups}
        text = results[self._section.baseline()][0]["text"]
        nats = {arm: np.mean([one["nats"] for one in runs], axis=0) for arm, runs in results.items()}
        others = [arm for arm in nats if arm != self._section.baseline()]
        if not others or len(text) < LENGTH:
            return ExperimentResult(Section(""), {})
        best = min(others, key=lambda arm: nats[arm].mean())
        samples = []
        for arm, other in ((best, self._section.baseline()), (self._section.baseline(), best)):
            for start, gain in leading_passages(nats[other] - nats[arm], LENGTH, SHOWN if arm == best else 1):
                shown = f"{text[max(0, start - BEFORE) : start]}[{text[start : start + LENGTH]}]"
                note = f"{bits(gain):.2f} bits per character better than {other}"
                samples.append(Sample(f"{arm} leads", shown, self._colors[arm], note))
        what = WHAT.format(length=LENGTH, arm=best, baseline=self._section.baseline())
        return ExperimentResult(Section("Passages where one leads", paragraphs=[what], samples=samples), {})


def leading_passages(gains: npt.NDArray[np.float64], length: int, count: int) -> list[tuple[int, float]]:
    """The starts and the mean gains of the ``count`` passages of ``length`` characters with the largest mean gain above
    zero, the largest first; no two of them overlap."""
    sums = np.convolve(gains, np.ones(length), "valid") / length
    passages = []
    for _ in range(count):
        start = int(sums.argmax())
        if not sums[start] > 0:
            break
        passages.append((start, float(sums[start])))
        sums[max(0, start - length + 1) : start + length] = -np.inf
    return passages
