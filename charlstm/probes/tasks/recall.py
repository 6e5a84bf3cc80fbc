"""Recall over a lag (Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import ClassVar

import numpy as np

from charlstm.probes.tasks.base import Draws, Task, alphabet, as_strings, check


@dataclass(frozen=True)
class Recall(Task):
    """``K x..x ? K``: a key, ``lag`` random letters, the query, the key again.

    lag      characters between the key and the query
    keys     number of keys, upper-case letters; chance is 1 / keys
    letters  number of letters that the lag is drawn from, lower-case
    mixed    draw the lag from the keys instead, so that only the position identifies the key

    Raises ValueError for values out of range.
    """

    name: ClassVar[str] = "recall"
    mark: ClassVar[str | None] = "?"

    lag: int
    keys: int = 8
    letters: int = 16
    mixed: bool = False

    def __post_init__(self) -> None:
        check("lag", self.lag, 0)
        check("keys", self.keys, 2, 26)
        check("letters", self.letters, 1, 26)

    @property
    def chance(self) -> float:
        return 1 / self.keys

    @property
    def baseline_nats(self) -> float:
        return math.log(self.keys)

    def strings(self, count: int, seed: int) -> list[str]:
        draws = Draws(seed)
        keys = alphabet(ascii_uppercase[: self.keys])
        lag_letters = keys if self.mixed else alphabet(ascii_lowercase[: self.letters])
        key = keys[draws.below(self.keys, count, 1)]
        lag = lag_letters[draws.below(len(lag_letters), count, self.lag)]
        query = np.full_like(key, ord("?"))
        return as_strings(np.concatenate([key, lag, query, key], 1))
