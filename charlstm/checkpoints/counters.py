"""The numbers that a run carries from step to step, and that its checkpoints record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

LARGEST_LOSS = 1e30
"""In nats: sums and plots of losses up to it stay finite, so a checkpoint may hold them."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
_Nats = Annotated[float, Field(allow_inf_nan=False)]


@dataclass
class Counters:
    """Numbers that a run has to remember. ``sum_nats`` and ``sum_count`` cover the steps since the last record.

    ``evaluation_due``: the steps have come to an evaluation that is not made yet, or was broken off.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    step: Count = 0
    characters: Count = 0
    seconds: _Seconds = 0.0
    sum_nats: _Nats = 0.0
    sum_count: Count = 0
    recorded_seconds: _Seconds = 0.0
    recorded_characters: Count = 0
    best_nats: _Nats | None = None
    best_step: Count | None = None
    evaluations_without_improvement: Count = 0
    evaluation_due: bool = False

    def recorded(self) -> None:
        """What comes now belongs to the next record."""
        self.sum_nats, self.sum_count = 0.0, 0
        self.recorded_seconds, self.recorded_characters = self.seconds, self.characters
