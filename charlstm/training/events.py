"""What a trainer tells while it works: plain objects, printed by whoever likes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from charlstm.runs.metrics import StopReason
from charlstm.units import bits


@dataclass(frozen=True)
class Progress:
    """After each step. ``nats`` is a running mean of the training loss; ``fraction`` the share of the budget used."""

    step: int
    epoch: float
    nats: float
    learning_rate: float
    gradient_norm: float
    characters_per_second: float
    fraction: float
    seconds: float

    @property
    def bits_per_character(self) -> float:
        return bits(self.nats)

    def record(self) -> dict[str, Any]:
        """What of it stands in the metrics."""
        return {name: value for name, value in vars(self).items() if name != "fraction"}

    @property
    def seconds_left(self) -> float:
        """Training time left, if the rest goes as fast as what is done."""
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction > 0 else math.inf


@dataclass(frozen=True)
class Evaluated:
    """A held-out score.

    ``pseudo``: of a bidirectional model, a pseudo-likelihood. ``sample``: some text, if asked for.
    """

    step: int
    epoch: float
    nats: float
    characters_scored: int
    pseudo: bool
    improved: bool
    best_nats: float
    sample: str

    @property
    def bits_per_character(self) -> float:
        return bits(self.nats)

    def record(self, unit: str) -> dict[str, Any]:
        """What of it stands in the metrics; unit: what the text is made of, characters or bytes."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "nats": self.nats,
            f"bits_per_{unit}": self.bits_per_character,
            "characters_scored": self.characters_scored,
            "pseudo_likelihood": self.pseudo,
        }


@dataclass(frozen=True)
class Notice:
    """Something worth saying once."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The last event. ``why``: the budget is used, its score reached, no more improvement, stopped from
    outside, or the loss went bad."""

    why: StopReason
    step: int
    best_nats: float | None
    best_step: int | None
    seconds: float
    characters: int
    advice: str = ""

    @property
    def best_bits_per_character(self) -> float | None:
        return None if self.best_nats is None else bits(self.best_nats)


Event = Progress | Evaluated | Notice | Ended
