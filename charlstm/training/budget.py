"""How much of its budget a run has used, and whether it has finished."""

from __future__ import annotations

from charlstm.checkpoints.counters import Counters
from charlstm.config import TrainingConfig
from charlstm.runs.records import StopReason


def used_fraction(training: TrainingConfig, counters: Counters, epochs: float) -> float:
    """The used fraction of the budget, 0 to 1: the largest over its limits in steps, epochs and minutes."""
    budget = training.budget
    limits = [
        (counters.step, budget.steps),
        (epochs, budget.epochs),
        (counters.seconds, None if budget.minutes is None else 60 * budget.minutes),
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
