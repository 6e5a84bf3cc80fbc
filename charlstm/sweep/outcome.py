"""The scores of a run at the rungs of a sweep, from its metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charlstm.config import TrainingConfig
from charlstm.config.sections import EVALUATIONS
from charlstm.runs.directory import FINISHED, RunDirectory
from charlstm.runs.metrics import read_outline
from charlstm.runs.records import StopReason
from charlstm.training.budget import used_fraction


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a run: the used fraction of its budget, its step, and its held-out score."""

    fraction: float
    step: int
    nats: float

    @property
    def tenths(self) -> int:
        """The complete tenths of the budget."""
        return math.floor(EVALUATIONS * self.fraction)


@dataclass(frozen=True)
class Outcome:
    """The evaluations of a run, in order, and why its training ended, if it has."""

    evaluations: tuple[Evaluation, ...] = ()
    ended: StopReason | None = None

    def until(self, tenths: int) -> tuple[Evaluation, ...] | None:
        """The evaluations up to the first after so many tenths of the budget, or all of a run that ended before; None
        if the run has not come that far; all tenths are used when its end is recorded."""
        for number, evaluation in enumerate(self.evaluations, start=1):
            if evaluation.tenths >= tenths and tenths < EVALUATIONS:
                return self.evaluations[:number]
        return self.evaluations if self.ended in (*FINISHED, "diverged") else None

    def nats(self, tenths: int) -> float | None:
        """The best score until so many tenths of the budget; None if the run has not come that far; infinite if it
        diverged before that, or, of all tenths, at any time."""
        evaluations = self.until(tenths)
        if evaluations is None:
            return None
        is_reached = tenths < EVALUATIONS and bool(evaluations) and evaluations[-1].tenths >= tenths
        if not evaluations or (self.ended == "diverged" and not is_reached):
            return math.inf
        return min(evaluation.nats for evaluation in evaluations)


def read_outcome(directory: RunDirectory, training: TrainingConfig) -> Outcome:
    """The outcome of a run; without evaluations if it has not been started. Raises UserError if its metrics cannot be
    read."""
    evaluations, ended = list[Evaluation](), None
    for record in read_outline(directory.metrics_file):
        if record["kind"] == "evaluation" and record["nats"] is not None:
            fraction = used_fraction(training, record["step"], record.get("epoch", 0.0), record["seconds"])
            evaluations.append(Evaluation(fraction, record["step"], record["nats"]))
        ended = record["stop_reason"] if record["kind"] == "end" else None
    return Outcome(tuple(evaluations), ended)
