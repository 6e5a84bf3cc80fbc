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
    """``a..X..d..Y..b ? R``: the order of two symbols, each X or Y, among the letters a to d.

    The first of the two is at a random position from 1/10 to 1/5 of the length, the second from 1/2 to 3/5.

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
        for index, (low, high) in enumerate(((1, 2), (5, 6))):
            first, last = self.length * low // 10, self.length * high // 10
            positions = first + draws.below(last - first + 1, count)
            codes[np.arange(count), positions] = alphabet("XY")[marks[:, index]]
        codes[:, -2] = ord("?")
        codes[:, -1] = alphabet(CLASSES)[2 * marks[:, 0] + marks[:, 1]]
        return as_strings(codes)
