"""What a comparison is made of: evaluations, runs, arms. Plain data, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from charlstm.units import bits


@dataclass(frozen=True)
class Evaluation:
    """One held-out score.

    Attributes:
        step: optimiser steps taken before it.
        characters: characters trained on before it.
        seconds: training time before it, evaluation and sampling excluded.
        nats: mean negative log-likelihood of a held-out character, in nats.
    """

    step: int
    characters: int
    seconds: float
    nats: float

    @property
    def bits(self) -> float:
        """The score in bits per character."""
        return bits(self.nats)


@dataclass(frozen=True)
class RunResult:
    """One trained run: one arm, one seed.

    Attributes:
        name: the run's name.
        seed: the seed of its weights and batches; arms are paired by it.
        parameters: number of trained parameters.
        settings: what it was trained with, for the reader (cell, hidden_size, executor, precision, ...).
        evaluations: held-out scores in the order they were made; may be empty.
        train: (characters, seconds, nats) of the training loss along the run.
        characters_per_second: training speed over the run.
        seconds: training time, evaluation and sampling excluded.
        sample: text drawn from the model; not trusted, escaped wherever it is shown.
        finished: whether the budget was used up or early stopping ended it.
        causal: False for a bidirectional model, whose score is a pseudo-likelihood.
    """

    name: str
    seed: int
    parameters: int
    settings: dict[str, object]
    evaluations: list[Evaluation]
    train: list[tuple[int, float, float]]
    characters_per_second: float
    seconds: float
    sample: str
    finished: bool
    causal: bool

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the lowest finite score, the earliest of equals; None without one."""
        return min(self.scored, key=lambda evaluation: evaluation.nats, default=None)

    @property
    def best_bits(self) -> float | None:
        """The lowest held-out score in bits per character; None if the run has no finite one."""
        best = self.best
        return None if best is None else best.bits

    @property
    def scored(self) -> list[Evaluation]:
        """The evaluations whose score is a finite number."""
        return [evaluation for evaluation in self.evaluations if math.isfinite(evaluation.nats)]

    @property
    def characters(self) -> int:
        """Characters trained on, as far as the records go."""
        seen = [evaluation.characters for evaluation in self.evaluations]
        return max(seen + [characters for characters, _, _ in self.train], default=0)


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: the same settings under several seeds."""

    name: str
    runs: list[RunResult]


@dataclass(frozen=True)
class Comparison:
    """Arms trained on the same text.

    Attributes:
        title: heads the report.
        arms: the first one is the reference that the others are compared with.
        corpus: the text and its split, in words.
        difference: one line per arm, what sets it apart.
        match: how the arms were made comparable, in words ("parameters, within 1%").
        notes: further remarks for the reader.
        unit: what the model predicts one at a time; "byte" where the corpus is read as bytes.
        compared: absolute paths of the runs, where runs that exist are compared.
    """

    title: str
    arms: list[Arm]
    corpus: str
    difference: list[str] = field(default_factory=list)
    match: str = ""
    notes: list[str] = field(default_factory=list)
    unit: Literal["character", "byte"] = "character"
    compared: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[RunResult]:
        """Every run of every arm."""
        return [run for arm in self.arms for run in arm.runs]

    def restrict(self, causal: bool) -> Comparison:
        """The comparison of the causal runs alone, or of the others; arms left without a run drop out.

        A likelihood and a pseudo-likelihood do not compare, so nothing below shows both at once.
        """
        arms = [replace(arm, runs=[run for run in arm.runs if run.causal is causal]) for arm in self.arms]
        return replace(self, arms=[arm for arm in arms if arm.runs])


def arm_colours(arms: Iterable[Arm]) -> dict[str, int]:
    """A colour number per arm, by its place, so that an arm looks alike in every table and plot."""
    return {arm.name: place for place, arm in enumerate(arms)}
