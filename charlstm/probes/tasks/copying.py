"""Copying (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016; this variant: Tallec & Ollivier 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

import numpy as np

from charlstm.probes.tasks.base import Draws, Task, alphabet, as_strings, check


@dataclass(frozen=True)
class Copying(Task):
    """``s..s _.._ ? s..s``: ``length`` symbols, ``lag`` blanks, the query, the same symbols in the same order.

    Only the copy counts: without memory it costs ln ``symbols`` per character, ``length`` ln ``symbols`` per string.
    The papers average over the blanks as well: 10 ln 8 / (T + 20).

    lag      blanks between the symbols and the query
    length   number of symbols to copy
    symbols  number of different symbols, lower-case letters

    Raises ValueError for values out of range.
    """

    name: ClassVar[str] = "copying"
    mark: ClassVar[str | None] = "?"

    lag: int
    length: int = 10
    symbols: int = 8

    def __post_init__(self) -> None:
        check("lag", self.lag, 0)
        check("length", self.length, 1)
        check("symbols", self.symbols, 2, 26)

    @property
    def chance(self) -> float:
        return float(self.symbols) ** -self.length

    @property
    def baseline_nats(self) -> float:
        return math.log(self.symbols)

    def strings(self, count: int, seed: int) -> list[str]:
        symbols = alphabet(ascii_lowercase[: self.symbols])[Draws(seed).below(self.symbols, count, self.length)]
        blanks = np.full((count, self.lag + 1), ord("_"), np.uint32)
        blanks[:, -1] = ord("?")
        return as_strings(np.concatenate([symbols, blanks, symbols], 1))
