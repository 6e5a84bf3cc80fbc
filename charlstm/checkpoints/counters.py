"""The counters of a run, saved in its checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

LARGEST_LOSS = 1e30
"""In nats: sums and plots of losses up to it stay finite, so a checkpoint may contain them."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
_Epochs = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Nats = Annotated[float, Field(allow_inf_nan=False)]


@dataclass
class Counters:
    """Counters of a run. ``sum_nats`` and ``sum_count`` cover the steps since the last record.

    ``evaluation_due``: the next evaluation has not started, or was interrupted. ``high_loss_steps``: the number of
    steps in succession, up to this one, whose loss was so high that the run may have diverged. ``kept_step``,
    ``kept_epochs`` and ``kept_seconds``: what was used of the budget at the latest checkpoint to keep.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    step: Count = 0
    characters: Count = 0
    seconds: _Seconds = 0.0
    sum_nats: Nats = 0.0
    sum_count: Count = 0
    recorded_seconds: _Seconds = 0.0
    recorded_characters: Count = 0
    best_nats: Nats | None = None
    best_step: Count | None = None
    evaluations_without_improvement: Count = 0
    evaluation_due: bool = False
    high_loss_steps: Count = 0
    kept_step: Count = 0
    kept_epochs: _Epochs = 0.0
    kept_seconds: _Seconds = 0.0

    def keep(self, epochs: float) -> None:
        """The checkpoint of this step, after so many epochs, is one to keep."""
        self.kept_step, self.kept_epochs, self.kept_seconds = self.step, epochs, self.seconds

    def start_record(self) -> None:
        """Start to accumulate the next record."""
        self.sum_nats, self.sum_count = 0.0, 0
        self.recorded_seconds, self.recorded_characters = self.seconds, self.characters

    def add_score(self, nats: float | None) -> bool:
        """Count a completed evaluation; returns whether its held-out score is the best so far. None: nothing is held
        out, so that no evaluation is the best. Infinity is never the best."""
        self.evaluation_due = False
        if nats is None:
            return False
        improved = nats < (math.inf if self.best_nats is None else self.best_nats)
        if improved:
            self.best_nats, self.best_step = nats, self.step
        self.evaluations_without_improvement = 0 if improved else self.evaluations_without_improvement + 1
        return improved
