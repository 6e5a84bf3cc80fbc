"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

from charlstm.config import TrainingConfig

WARMUP_STEPS, WARMUP_FRACTION = 100, 0.05
"""The warm-up of a run without ``warmup_steps``: the shorter of the two."""


class Schedule:
    """The learning rate over training.

    ``rate = learning_rate * warmup * decay``: the warm-up rises linearly over ``warmup_steps`` (None: over 100 steps,
    or over a twentieth of the budget if that is shorter); the decay is 1 (constant), a half cosine over the budget
    (cosine), ``gamma ** reductions`` (step, plateau). The cosine spans the current budget, from the first step of the
    run: a run that is resumed with another budget in steps or epochs continues on the curve of a run that had this
    budget from the start.

    The reductions of a step schedule are a function of the number of epochs e, of which fractions count:

        max(0, 1 + floor((e - hold_epochs) / step_size))

    The first steps at e = ``hold_epochs`` (None: ``step_size``) have the first reduction. Those of a plateau schedule
    are counted by :meth:`step_evaluation`.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self.reductions = 0
        self.without_improvement = 0

    def rate(self, step: int, epoch: float, progress: float) -> float:
        """The learning rate of a step, counted from 0; ``progress`` is the used fraction of the budget."""
        c = self._config
        decay = 1.0
        if c.schedule == "cosine":
            floor = c.final_learning_rate_fraction
            decay = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        elif c.schedule == "step":
            late = 0.0 if c.hold_epochs is None else c.hold_epochs - c.step_size
            decay = c.gamma ** max(0, math.floor((epoch - late) / c.step_size + 1e-9))
        elif c.schedule == "plateau":
            decay = c.gamma**self.reductions
        return c.learning_rate * self._warmup(step, progress) * decay

    def _warmup(self, step: int, progress: float) -> float:
        if self._config.warmup_steps is None:
            return min(1.0, max((step + 1) / WARMUP_STEPS, progress / WARMUP_FRACTION))
        return min(1.0, (step + 1) / max(1, self._config.warmup_steps))

    def step_evaluation(self, improved: bool) -> None:
        """Update the plateau schedule after an evaluation."""
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if self.without_improvement > self._config.patience:
            self.reductions += 1
            self.without_improvement = 0

    def state_dict(self) -> dict[str, Any]:
        return {"reductions": self.reductions, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reductions, self.without_improvement = state["reductions"], state["without_improvement"]
