"""What every task is, and what they are made with."""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]


class Task(Protocol):
    """Strings whose answer depends on something far before it; written one per line, they are a text to train on.

    name           of the task, for files and reports
    mark           the character that stands once in each string, right before its answer; None: the whole string counts
    chance         share of the strings whose whole answer the best guess without memory gets right
    baseline_nats  -ln p of the best guess without memory, mean per character that counts

    Without memory means: knowing the task, the place and the answer so far, but nothing that stands before the mark. A
    task without a mark says itself what its two figures mean.
    """

    name: ClassVar[str]
    mark: ClassVar[str | None]

    @property
    def chance(self) -> float: ...

    @property
    def baseline_nats(self) -> float: ...

    def strings(self, count: int, seed: int) -> list[str]:
        """So many strings, without line ends: the same for a seed on every machine, others for every other seed."""

    @property
    def score_after(self) -> str | None:
        """What only the rest of a string after its first occurrence counts in training: the mark."""
        return self.mark

    def answer(self, string: str) -> str:
        """What of a string has to be remembered."""
        return string if self.mark is None else string.partition(self.mark)[2]


class Draws:
    """Random numbers that depend on the seed alone: PCG64's own bits, which no version of numpy may change."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, bound: int | Numbers, *shape: int) -> Numbers:
        """Whole numbers from 0 to ``bound - 1``, all equally likely to within 2^-32; bounds up to 2^31."""
        raw = np.asarray(self._bits.random_raw(math.prod(shape))).reshape(shape)
        found: Numbers = (raw >> np.uint64(32)).astype(np.int64) * bound >> 32
        return found


def alphabet(letters: str) -> Codes:
    """The code points of the letters."""
    return np.array([ord(letter) for letter in letters], np.uint32)


def as_strings(codes: Codes) -> list[str]:
    """The rows of code points [N, L] as N strings."""
    found: list[str] = np.ascontiguousarray(codes).view(f"U{codes.shape[1]}")[:, 0].tolist()
    return found


def check(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises ValueError if the number is out of its range."""
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}: expected {low} or more{'' if high is None else f', at most {high}'}, found {value}")
