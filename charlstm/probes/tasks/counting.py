"""Counting: a^n b^n and a^n b^n c^n (Gers & Schmidhuber 2001; Weiss et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from charlstm.probes.tasks.base import Draws, Task, check


@dataclass(frozen=True)
class Counting(Task):
    """``aa..abb..b``: each of the letters n times, with n uniform from ``shortest`` to ``longest``.

    When the first b is there, all that follows, the end of the line included, is certain to who has counted: to see
    whether a network has, ask for the answers after ``letters[1]`` in strings that end with their line end.

    Everything counts in training. What a perfect counter cannot know is n itself: ``baseline_nats`` is ln of the number
    of lengths, spread over the characters and the end of a mean string, and nothing does better. ``chance`` is the
    share of the strings that agree with one fixed n.

    Raises ValueError for letters that are not two or more different ones, and lengths out of range.
    """

    name: ClassVar[str] = "counting"
    mark: ClassVar[str | None] = None

    letters: str = "ab"
    shortest: int = 1
    longest: int = 50

    def __post_init__(self) -> None:
        if len(self.letters) < 2 or len(set(self.letters)) < len(self.letters):
            raise ValueError(f"letters: expected two or more different ones, found {self.letters!r}")
        check("shortest", self.shortest, 1)
        check("longest", self.longest, self.shortest)

    @property
    def lengths(self) -> int:
        """How many different n there are."""
        return self.longest - self.shortest + 1

    @property
    def chance(self) -> float:
        return 1 / self.lengths

    @property
    def baseline_nats(self) -> float:
        return math.log(self.lengths) / (len(self.letters) * (self.shortest + self.longest) / 2 + 1)

    def strings(self, count: int, seed: int) -> list[str]:
        numbers = self.shortest + Draws(seed).below(self.lengths, count)
        return ["".join(letter * n for letter in self.letters) for n in numbers.tolist()]
