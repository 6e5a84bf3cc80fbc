"""The search space of a sweep: lists and ranges of values, and the candidates that are drawn from them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from charlstm.config.sections import Section

DIGITS = 3
"""Significant digits of a drawn number, so that tables and files stay readable."""
MAX_REPEATS = 1000
"""Draws in a row that repeat earlier candidates, after which the space counts as exhausted."""


class Range(Section):
    """A range of numbers, such as `training.learning_rate: {min: 1e-3, max: 3e-2, scale: log}`. For a field that takes
    whole numbers, whole numbers are drawn, both ends included."""

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    scale: Literal["linear", "log"] = Field(
        "linear",
        description="linear: every value is equally likely. log: every factor is, as learning rates and sizes need it "
        "(Bergstra & Bengio 2012).",
    )
    count: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="Number of evenly spaced values, both ends included. Required with method: grid, and only used "
        "there.",
    )

    @model_validator(mode="after")
    def _ends_are_ordered(self) -> Range:
        if not self.min < self.max:
            raise ValueError(f"expected min below max, found {self.min:g} and {self.max:g}")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"scale: log needs min above 0, found {self.min:g}")
        if not math.isfinite(self.max / self.min if self.scale == "log" else self.max - self.min):
            raise ValueError(f"a range from {self.min:g} to {self.max:g} is too wide: narrow it")
        return self

    def at(self, fraction: float, is_whole: bool) -> float:
        """The value at a fraction, 0 to 1, of the way from min to max on the scale, rounded."""
        if self.scale == "log":
            value = self.min * math.pow(self.max / self.min, fraction)
        else:
            value = self.min + fraction * (self.max - self.min)
        value = min(max(value, self.min), self.max)
        if is_whole:
            return round(value)
        return value if value in (self.min, self.max) else min(max(float(f"{value:.{DIGITS}g}"), self.min), self.max)

    def draw(self, uniform: float, is_whole: bool) -> float:
        """The value for a number that is uniform in [0, 1)."""
        if not is_whole:
            return self.at(uniform, is_whole)
        end = self.max + 1  # each whole number has the interval above it
        factor = self.scale == "log"
        value = self.min * math.pow(end / self.min, uniform) if factor else self.min + uniform * (end - self.min)
        return min(math.floor(value), int(self.max))


Values = Range | Sequence[Any]
Candidate = dict[str, Any]
"""The value of each field of the space, by its dotted name."""


def random_candidates(
    space: Mapping[str, Values], whole: Collection[str], seed: int, reduce: Callable[[Candidate], Candidate]
) -> Iterator[Candidate]:
    """Different candidates in random order; ends when no more can be found. The first n do not depend on how many are
    taken, nor on Python's version: a resumed or extended sweep draws the same ones.

    Args:
        whole: the fields that take whole numbers.
        reduce: leaves out the values that have no effect beside the others.
    """
    generator = random.Random(seed)
    seen: set[str] = set()
    repeats = 0
    while repeats < MAX_REPEATS:
        candidate = {}
        for name, values in space.items():
            uniform = generator.random()
            if isinstance(values, Range):
                candidate[name] = values.draw(uniform, name in whole)
            else:
                candidate[name] = values[int(uniform * len(values))]
        candidate = reduce(candidate)
        if (key := repr(candidate)) in seen:
            repeats += 1
            continue
        repeats = 0
        seen.add(key)
        yield candidate


def grid_candidates(
    space: Mapping[str, Values], whole: Collection[str], reduce: Callable[[Candidate], Candidate]
) -> list[Candidate]:
    """Every combination of the values, each once; the last field varies fastest. Arguments as for
    :func:`random_candidates`."""
    axes: list[Sequence[Any]] = []
    for name, values in space.items():
        if isinstance(values, Range):
            count = values.count or 2
            axes.append([values.at(index / (count - 1), name in whole) for index in range(count)])
        else:
            axes.append(values)
    combinations = itertools.product(*axes)
    candidates = (reduce(dict(zip(space, combination, strict=True))) for combination in combinations)
    return list({repr(candidate): candidate for candidate in candidates}.values())
