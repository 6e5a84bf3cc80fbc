"""The interface of tasks and shared helpers."""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]


class Task(Protocol):
    """Strings whose answer depends on earlier characters; written one per line, they are a training text.

    name           of the task, for files and reports
    mark           the text that occurs once in each string, just before the answer; None: the string is all answer
    chance         fraction of the strings whose answer the best guess without memory gets entirely right
    baseline_nats  -ln p of the best guess without memory, mean per character that counts

    Without memory means: given the task, the position and the answer so far, but nothing before the mark. A task
    without a mark documents what ``chance`` and ``baseline_nats`` mean.
    """

    name: ClassVar[str]
    mark: ClassVar[str | None]

    @property
    def chance(self) -> float: ...

    @property
    def baseline_nats(self) -> float: ...

    def strings(self, count: int, seed: int) -> list[str]:
        """``count`` strings without line ends; they depend on the seed alone, on every machine."""

    @property
    def score_after(self) -> str | None:
        """The text after whose first occurrence in a string characters count in training: the mark."""
        return self.mark

    def answer(self, string: str) -> str:
        """The part of a string that needs memory."""
        return string if self.mark is None else string.partition(self.mark)[2]


class Draws:
    """Random integers that depend on the seed alone: from the raw bits of PCG64, which are stable across numpy
    versions."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, bound: int | Numbers, *shape: int) -> Numbers:
        """Integers from 0 to ``bound - 1``, uniform to within 2^-32; bounds up to 2^31."""
        raw = np.asarray(self._bits.random_raw(math.prod(shape))).reshape(shape)
        integers: Numbers = (raw >> np.uint64(32)).astype(np.int64) * bound >> 32
        return integers


def alphabet(letters: str) -> Codes:
    """The code points of the letters."""
    return np.array([ord(letter) for letter in letters], np.uint32)


def as_strings(codes: Codes) -> list[str]:
    """The rows of code points [N, L] as N strings."""
    strings: list[str] = np.ascontiguousarray(codes).view(f"U{codes.shape[1]}")[:, 0].tolist()
    return strings


def check(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises ValueError if the value is out of range."""
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}: expected {low} or more{'' if high is None else f', at most {high}'}, found {value}")
