"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

from charlstm.config import TrainingConfig


class Schedule:
    """The learning rate over training.

    ``rate = learning_rate * warm-up * course``: the warm-up climbs linearly over ``warmup_steps``; the course is 1
    (constant), a half cosine over the budget (cosine), ``gamma ** (epochs // step_size)`` (step), or ``gamma **
    reductions`` (plateau). The cosine runs over the present budget, from the run's first step: a run that is resumed
    with another budget in steps or epochs goes on along the curve of a run that had it from the beginning.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self.reductions = 0
        self.without_improvement = 0

    def rate(self, step: int, epoch: float, progress: float) -> float:
        """The learning rate of the step with this number, from 0; progress is the share of the budget that is used."""
        c = self._config
        course = 1.0
        if c.schedule == "cosine":
            low = c.final_learning_rate_fraction
            course = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        elif c.schedule == "step":
            course = c.gamma ** math.floor(epoch / c.step_size + 1e-9)
        elif c.schedule == "plateau":
            course = c.gamma**self.reductions
        warm_up = min(1.0, (step + 1) / c.warmup_steps) if c.warmup_steps else 1.0
        return c.learning_rate * warm_up * course

    def evaluated(self, improved: bool) -> None:
        """Take note of an evaluation (plateau)."""
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if self.without_improvement > self._config.patience:
            self.reductions += 1
            self.without_improvement = 0

    def state_dict(self) -> dict[str, Any]:
        return {"reductions": self.reductions, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reductions, self.without_improvement = state["reductions"], state["without_improvement"]
