"""Adding (Hochreiter & Schmidhuber 1997, experiment 4), with digits instead of real numbers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from charlstm.probes.tasks.base import Draws, Task, as_strings, check

SUMS = Counter(a + b for a, b in product(range(10), repeat=2))
"""Number of the 100 pairs of digits with each sum."""


@dataclass(frozen=True)
class Adding(Task):
    """``3 1 *4 1 .. 5 *9 2 = 13``: the sum, as two digits, of the two digits after a star.

    One of them is in the first half, the other in the second.

    length  digits before the "=", at least 2

    Raises ValueError for a length out of range.
    """

    name: ClassVar[str] = "adding"
    mark: ClassVar[str | None] = "="

    length: int

    def __post_init__(self) -> None:
        check("length", self.length, 2)

    @property
    def chance(self) -> float:
        return max(SUMS.values()) / SUMS.total()

    @property
    def baseline_nats(self) -> float:
        frequencies = [number / SUMS.total() for number in SUMS.values()]
        return -sum(p * math.log(p) for p in frequencies) / 2

    def strings(self, count: int, seed: int) -> list[str]:
        draws, rows, half = Draws(seed), np.arange(count), self.length // 2
        digits = draws.below(10, count, self.length)
        first, second = draws.below(half, count), half + draws.below(self.length - half, count)
        total = digits[rows, first] + digits[rows, second]
        codes = np.empty((count, self.length + 5), np.uint32)
        stars = np.zeros((count, self.length + 2), bool)
        stars[rows, first] = stars[rows, second + 1] = True
        codes[:, :-3][stars] = ord("*")
        codes[:, :-3][~stars] = digits.ravel() + ord("0")
        codes[:, -3] = ord("=")
        codes[:, -2:] = np.stack([total // 10, total % 10], 1) + ord("0")
        return as_strings(codes)
