"""Temporal order (Hochreiter & Schmidhuber 1997, experiment 6a)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from charlstm.probes.tasks.base import Draws, Task, alphabet, as_strings, check

CLASSES = "QRSU"
"""The answers for XX, XY, YX and YY."""


@dataclass(frozen=True)
class TemporalOrder(Task):
    """``a..X..d..Y..b ? R``: which of X and Y came first and which second, among the letters a to d.

    The first of the two stands at a random place from a tenth to a fifth of the length, the second from a half to three
    fifths.

    length  characters before the query, at least 10

    Raises ValueError for a length out of range.
    """

    name: ClassVar[str] = "temporal-order"
    mark: ClassVar[str | None] = "?"

    length: int

    def __post_init__(self) -> None:
        check("length", self.length, 10)

    @property
    def chance(self) -> float:
        return 1 / len(CLASSES)

    @property
    def baseline_nats(self) -> float:
        return math.log(len(CLASSES))

    def strings(self, count: int, seed: int) -> list[str]:
        draws = Draws(seed)
        codes = np.empty((count, self.length + 2), np.uint32)
        codes[:, : self.length] = alphabet("abcd")[draws.below(4, count, self.length)]
        marks = draws.below(2, count, 2)
        for number, (low, high) in enumerate(((1, 2), (5, 6))):
            first, last = self.length * low // 10, self.length * high // 10
            places = first + draws.below(last - first + 1, count)
            codes[np.arange(count), places] = alphabet("XY")[marks[:, number]]
        codes[:, -2] = ord("?")
        codes[:, -1] = alphabet(CLASSES)[2 * marks[:, 0] + marks[:, 1]]
        return as_strings(codes)
