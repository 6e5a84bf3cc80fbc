"""How much of its budget a run has used, when it is evaluated, and whether it has finished."""

from __future__ import annotations

import math

from charlstm.checkpoints.counters import Counters
from charlstm.config import TrainingConfig
from charlstm.config.sections import EVALUATIONS
from charlstm.runs.records import StopReason
from charlstm.training.state import TrainingState

RECORDS_PER_EVALUATION = 20
TINY = 1e-6

LONGEST_STEP, SHORT_PAUSE, FIRST_STEP = 20.0, 1.0, 0.15
"""A step counts at most ``LONGEST_STEP`` times the mean of those before it (before the first: ``FIRST_STEP`` seconds),
or ``SHORT_PAUSE`` seconds, whichever is longer."""


class BudgetProgress:
    """The used fraction of a run's budget, and the records and evaluations that are due on the way."""

    def __init__(self, training: TrainingConfig, state: TrainingState) -> None:
        self._training, self._state = training, state
        self._checked, self._timed_steps = 0.0, 0

    @property
    def fraction(self) -> float:
        """The used fraction of the budget, 0 to 1."""
        counters = self._state.counters
        return used_fraction(self._training, counters.step, self._state.streams.progress, counters.seconds)

    def resume(self) -> None:
        """Continue from a restored state, of which nothing is due."""
        self._checked, self._timed_steps = self.fraction, self._state.counters.step

    def seconds_after(self, elapsed: float) -> float:
        """The seconds of training after the steps since the last call, which took ``elapsed`` seconds.

        If the process was paused meanwhile (Ctrl-Z, a suspended machine), or compiled kernels, that is no training: a
        budget in minutes would be used up in one step, and a schedule would skip its curve.
        """
        counters = self._state.counters
        steps, self._timed_steps = counters.step - self._timed_steps, counters.step
        mean = counters.seconds / (counters.step - steps) if counters.step > steps else FIRST_STEP
        return counters.seconds + min(elapsed, max(SHORT_PAUSE, LONGEST_STEP * mean * steps))

    def advance(self) -> bool:
        """After a step, set whether an evaluation is due; returns whether a record is."""
        before, self._checked = self._checked, self.fraction
        self._state.counters.evaluation_due = self._is_due(before) or self._checked >= 1
        return self._is_due(before, RECORDS_PER_EVALUATION)

    def keeps_checkpoint(self) -> bool:
        """Whether the checkpoint of this evaluation is one to keep: the first in one of ``training.keep_checkpoints``
        equal parts of the budget, or at its end."""
        count, counters = self._training.keep_checkpoints, self._state.counters
        if count == "all":
            return True
        before = used_fraction(self._training, counters.kept_step, counters.kept_epochs, counters.kept_seconds)
        return math.floor(count * self.fraction + TINY) > math.floor(count * before + TINY)

    def _is_due(self, before: float, per_evaluation: int = 1) -> bool:
        """Whether an interval between evaluations, or one of ``per_evaluation`` parts of it, ended since the used
        fraction of the budget was ``before``."""
        interval = self._training.evaluate_every
        if interval is not None:
            return self._state.counters.step % max(1, interval // per_evaluation) == 0
        parts = EVALUATIONS * per_evaluation
        return math.floor(parts * self._checked) > math.floor(parts * before)


def steps_before_evaluation(training: TrainingConfig, steps_per_epoch: int) -> int | None:
    """The steps before the first evaluation, unless a budget in minutes ends sooner; None if only minutes decide."""
    budget, interval = training.budget, training.evaluate_every
    epochs = None if budget.epochs is None else math.ceil(budget.epochs * steps_per_epoch)
    limits = [limit for limit in (budget.steps, epochs) if limit is not None]
    if interval is not None:
        return min([interval, *limits])
    return None if budget.minutes is not None else math.ceil(min(limits) / EVALUATIONS)


def used_fraction(training: TrainingConfig, steps: int, epochs: float, seconds: float) -> float:
    """The used fraction of the budget, 0 to 1: the largest over its limits in steps, epochs and minutes."""
    budget = training.budget
    limits = [
        (steps, budget.steps),
        (epochs, budget.epochs),
        (seconds, None if budget.minutes is None else 60 * budget.minutes),
    ]
    return min(1.0, max(used / limit for used, limit in limits if limit is not None))


def finish_reason(training: TrainingConfig, counters: Counters, fraction: float) -> StopReason | None:
    """Why the run has finished after the latest evaluation; None if it continues."""
    target, patience = training.budget.target_nats, training.early_stopping
    if target is not None and counters.best_nats is not None and counters.best_nats <= target:
        return "target_reached"
    if patience is not None and counters.evaluations_without_improvement >= patience:
        return "early_stopping"
    return "budget" if fraction >= 1 else None
