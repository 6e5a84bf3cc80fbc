"""Counting: a^n b^n and a^n b^n c^n (Gers & Schmidhuber 2001; Weiss et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from charlstm.probes.tasks.base import Draws, Task, check

END = "."
"""The end of a string, which the model has to predict."""


@dataclass(frozen=True)
class Counting(Task):
    """``aa..abb..b.``: each of the letters n times, with n uniform from ``shortest`` to ``longest``, and an end.

    After the first b, n determines all that follows, the end included, and only these characters count in training: n
    itself is not predictable. So a perfect counter has zero loss; ``baseline_nats`` is the loss of a model that knows
    the order of the letters but does not count: ln of the number of lengths per string, divided by the mean number of
    characters that count. ``chance`` is the fraction of the strings with one fixed n.

    Raises ValueError for fewer than two letters, repeated letters, the end among them, and lengths out of range.
    """

    name: ClassVar[str] = "counting"
    mark: ClassVar[str | None] = None

    letters: str = "ab"
    shortest: int = 1
    longest: int = 50

    def __post_init__(self) -> None:
        if len(self.letters) < 2 or len(set(self.letters + END)) <= len(self.letters):
            raise ValueError(f"letters: expected two or more different ones, found {self.letters!r}")
        check("shortest", self.shortest, 1)
        check("longest", self.longest, self.shortest)

    @property
    def lengths(self) -> int:
        """The number of different n."""
        return self.longest - self.shortest + 1

    @property
    def chance(self) -> float:
        return 1 / self.lengths

    @property
    def baseline_nats(self) -> float:
        return math.log(self.lengths) / ((len(self.letters) - 1) * (self.shortest + self.longest) / 2)

    @property
    def score_after(self) -> str:
        return self.letters[1]

    def strings(self, count: int, seed: int) -> list[str]:
        numbers = self.shortest + Draws(seed).below(self.lengths, count)
        return [counting_string(self.letters, n) for n in numbers.tolist()]


def counting_string(letters: str, n: int) -> str:
    """The string with n of each of the letters."""
    return "".join(letter * n for letter in letters) + END
