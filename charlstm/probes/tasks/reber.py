"""The embedded Reber grammar (Reber 1967; Hochreiter & Schmidhuber 1997, experiment 1), single and continual.

A Reber string begins with B, ends with E, and goes through the states of ``REBER``; where there are two ways on, it
takes either with probability 1/2. The embedded grammar hides the memory of one symbol behind it: ``B T reber T E`` or
``B P reber P E``. The second symbol has to be known again at the second-to-last place, the critical one, six characters
later or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from charlstm.probes.tasks.base import Draws, Task, alphabet, as_strings, check

Ways = tuple[tuple[str, int], ...]

REBER: tuple[Ways, ...] = (
    (("B", 1),),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7),),
)
"""State -> the symbols that may come next, and the state after each; 7 is the end."""

KEYS = "TP"
START, KEY, FIRST_INNER = 0, 1, 2
LAST_INNER = FIRST_INNER + len(KEYS) * len(REBER)
CLOSING, END = LAST_INNER, LAST_INNER + len(KEYS)


def _embedded() -> tuple[Ways, ...]:
    """The states of the embedded grammar: the start, the key, the inner grammar once for each key, the key again, the
    end, after which comes the start of another string."""
    inner = [FIRST_INNER + len(REBER) * number for number in range(len(KEYS))]
    states: list[Ways] = [(("B", KEY),), tuple(zip(KEYS, inner, strict=True))]
    for number, offset in enumerate(inner):
        for ways in REBER:
            ends = CLOSING + number
            states.append(tuple((symbol, ends if to == len(REBER) else offset + to) for symbol, to in ways))
    states += [((key, END),) for key in KEYS]
    return (*states, (("E", START),))


EMBEDDED = _embedded()


def _expected(counted: npt.NDArray[np.float64]) -> float:
    """The mean over strings of what the states on the way add up to, ``counted`` [states]: v = counted + P v."""
    chain = np.zeros((len(EMBEDDED), len(EMBEDDED)))
    for state, ways in enumerate(EMBEDDED[:END]):
        for _, to in ways:
            chain[state, to] += 1 / len(ways)
    return float(np.linalg.solve(np.eye(len(EMBEDDED)) - chain, counted)[START])


@dataclass(frozen=True)
class Reber(Task):
    """Strings of the embedded Reber grammar, of at least 9 symbols.

    Everything counts in training. The answer is the critical symbol: ``chance`` is the share of the strings in which a
    guess gets it right. ``baseline_nats`` is what knows the grammar but not the key: ln 2 for each choice and for the
    critical symbol, spread over the characters and the end of a mean string.
    """

    name: ClassVar[str] = "reber"
    mark: ClassVar[str | None] = None

    @property
    def chance(self) -> float:
        return 1 / len(KEYS)

    @property
    def baseline_nats(self) -> float:
        choices = _expected(np.array([float(len(ways) > 1) for ways in EMBEDDED]))
        return (choices + 1) * math.log(2) / (_expected(np.ones(len(EMBEDDED))) + 1)

    def answer(self, string: str) -> str:
        return string[-2:-1]

    def strings(self, count: int, seed: int) -> list[str]:
        draws, ways = Draws(seed), [(ways[0], ways[-1]) for ways in EMBEDDED]
        symbols = np.array([alphabet(a + b) for (a, _), (b, _) in ways])
        follows = np.array([[a, b] for (_, a), (_, b) in ways])
        state, going, columns = np.full(count, START), np.ones(count, bool), []
        while going.any():
            choice = draws.below(2, count)
            columns.append(np.where(going, symbols[state, choice], 0))
            state = follows[state, choice]
            going &= state != START
        return as_strings(np.stack(columns, 1).astype(np.uint32)) if count else []


@dataclass(frozen=True)
class ContinualReber:
    """Embedded Reber strings one after the other, with nothing between them: who reads it must see for itself where one
    ends, and forget (Gers, Schmidhuber & Cummins 2000, "Learning to forget")."""

    name: ClassVar[str] = "continual-reber"

    def text(self, characters: int, seed: int) -> str:
        """A text of so many characters; its last string may be cut off. The same for a seed on every machine."""
        check("characters", characters, 1)
        shortest = 9
        return "".join(Reber().strings(-(-characters // shortest), seed))[:characters]

    def critical(self, text: str) -> npt.NDArray[np.int64]:
        """The places of the critical symbols in a text from a string's beginning. Raises ValueError if it is none."""
        return np.array([place for place, state in enumerate(_states(text)) if CLOSING <= state < END], np.int64)

    def allowed(self, text: str) -> list[str]:
        """For each place of such a text, the symbols that may stand there, given what stands before it."""
        return ["".join(symbol for symbol, _ in EMBEDDED[state]) for state in _states(text)]


def _states(text: str) -> Iterator[int]:
    """The state before each symbol."""
    state = START
    for place, symbol in enumerate(text):
        yield state
        follows = dict(EMBEDDED[state])
        if symbol not in follows:
            raise ValueError(f"not of the grammar: {symbol!r} at place {place}, where {' or '.join(follows)} may stand")
        state = follows[symbol]
