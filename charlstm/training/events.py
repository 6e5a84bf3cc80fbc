"""The events of a training run, as plain objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from charlstm.runs.records import StopReason
from charlstm.units import bits


@dataclass(frozen=True)
class Progress:
    """After each step. ``nats``: running mean of the training loss. ``learning_rate``: that of the schedule, before the
    factors of parts and of random lengths. ``fraction``: used fraction of the budget."""

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
        """The record for metrics.jsonl."""
        return {name: value for name, value in vars(self).items() if name != "fraction"}

    @property
    def seconds_left(self) -> float:
        """Estimated training time left, at the mean speed so far."""
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction > 0 else math.inf


@dataclass(frozen=True)
class Evaluated:
    """The scores of an evaluation.

    ``nats``, ``bits_per_character``, ``best_nats``: of the held-out text; None if nothing is held out.
    ``is_pseudo_likelihood``: whether the model is bidirectional. ``sample``: generated text, or empty.
    ``training_split_nats``: the score of an evenly spread sample of the training split. ``raw_nats``: the held-out
    score of the trained weights, if ``nats`` is that of their average. ``sampled_from``: if ``nats`` is the score of a
    sample of the held-out text, the number of characters of that, and ``standard_error`` that of ``nats``, if it can be
    estimated. ``gap_error``: the standard error of the difference between the scores of the held-out text and of the
    training text, if both were drawn from texts of one kind.
    """

    step: int
    epoch: float
    nats: float | None
    characters_scored: int
    is_pseudo_likelihood: bool
    improved: bool
    best_nats: float | None
    sample: str
    training_split_nats: float | None = None
    training_split_characters: int = 0
    raw_nats: float | None = None
    sampled_from: int | None = None
    standard_error: float | None = None
    gap_error: float | None = None

    @property
    def bits_per_character(self) -> float | None:
        return None if self.nats is None else bits(self.nats)

    @property
    def standard_error_bits(self) -> float | None:
        return None if self.standard_error is None else bits(self.standard_error)

    @property
    def evaluated_nats(self) -> float:
        """The held-out score, or that of the training text if nothing is held out."""
        nats = self.training_split_nats if self.nats is None else self.nats
        assert nats is not None
        return nats

    @property
    def training_split_bits(self) -> float | None:
        return None if self.training_split_nats is None else bits(self.training_split_nats)

    @property
    def raw_bits(self) -> float | None:
        return None if self.raw_nats is None else bits(self.raw_nats)

    def record(self, unit: str) -> dict[str, Any]:
        """The record for metrics.jsonl; ``unit`` of the text: ``character`` or ``byte``."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "nats": self.nats,
            f"bits_per_{unit}": self.bits_per_character,
            "characters_scored": self.characters_scored,
            "pseudo_likelihood": self.is_pseudo_likelihood,
            "training_split_nats": self.training_split_nats,
            f"training_split_bits_per_{unit}": self.training_split_bits,
            "training_split_characters_scored": self.training_split_characters,
            **({} if self.gap_error is None else {"gap_nats_standard_error": self.gap_error}),
            **({} if self.raw_nats is None else {"raw_nats": self.raw_nats, f"raw_bits_per_{unit}": self.raw_bits}),
            **({} if self.sampled_from is None else self._sample()),
        }

    def _sample(self) -> dict[str, Any]:
        return {"sampled_from": self.sampled_from, "nats_standard_error": self.standard_error}


@dataclass(frozen=True)
class WholeSplitScored:
    """A score on the whole validation split at the end of a run whose evaluations have scored a sample of it.

    ``network``: ``best``, of the step whose sample had the best score, or ``last``; the best one may be both.
    """

    network: str
    step: int
    nats: float
    characters_scored: int
    is_pseudo_likelihood: bool

    @property
    def bits_per_character(self) -> float:
        return bits(self.nats)

    def record(self, unit: str) -> dict[str, Any]:
        """The record for metrics.jsonl; ``unit`` of the text: ``character`` or ``byte``."""
        return {
            "network": self.network,
            "step": self.step,
            "nats": self.nats,
            f"bits_per_{unit}": self.bits_per_character,
            "characters_scored": self.characters_scored,
            "pseudo_likelihood": self.is_pseudo_likelihood,
        }


@dataclass(frozen=True)
class Scoring:
    """While a text is scored: how much of it. `Trainer.run` does not yield it; see `Validator.on_scoring`."""

    what: str
    fraction: float


@dataclass(frozen=True)
class Notice:
    """A message to the user."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The last event. ``stop_reason``: budget used, target score reached, early stopping, stop request, or
    divergence. ``best_nats``: of the network with the best held-out score, on the whole validation split unless
    ``is_sampled``."""

    stop_reason: StopReason
    step: int
    best_nats: float | None
    best_step: int | None
    seconds: float
    characters: int
    advice: str = ""
    is_sampled: bool = False

    @property
    def best_bits_per_character(self) -> float | None:
        return None if self.best_nats is None else bits(self.best_nats)


Event = Progress | Evaluated | WholeSplitScored | Notice | Ended
