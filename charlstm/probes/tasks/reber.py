"""The embedded Reber grammar (Reber 1967; Hochreiter & Schmidhuber 1997, experiment 1), single and continual.

A Reber string begins with B, ends with E, and follows the states of ``REBER``; if a state has two transitions, each has
probability 1/2. The embedded grammar encloses a Reber string: ``B T reber T E`` or ``B P reber P E``. The second symbol
recurs at the second-to-last position, the repeated key, six or more characters later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from charlstm.probes.tasks.base import Draws, Task, alphabet, as_strings, check

Transitions = tuple[tuple[str, int], ...]

REBER: tuple[Transitions, ...] = (
    (("B", 1),),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7),),
)
"""State -> the possible next symbols, and the state after each; 7 is the end."""

KEYS = "TP"
START, KEY, FIRST_INNER = 0, 1, 2
LAST_INNER = FIRST_INNER + len(KEYS) * len(REBER)
CLOSING, END = LAST_INNER, LAST_INNER + len(KEYS)


def _embedded() -> tuple[Transitions, ...]:
    """The states of the embedded grammar: the start, the key, a copy of the inner grammar for each key, the key again,
    and the end, which leads back to the start."""
    inner = [FIRST_INNER + len(REBER) * key_index for key_index in range(len(KEYS))]
    states: list[Transitions] = [(("B", KEY),), tuple(zip(KEYS, inner, strict=True))]
    for key_index, offset in enumerate(inner):
        for transitions in REBER:
            ends = CLOSING + key_index
            states.append(tuple((symbol, ends if to == len(REBER) else offset + to) for symbol, to in transitions))
    states += [((key, END),) for key in KEYS]
    return (*states, (("E", START),))


EMBEDDED = _embedded()


def _expected(per_state: npt.NDArray[np.float64]) -> float:
    """The expected sum of ``per_state`` [states] over the states of a string: v = per_state + P v."""
    chain = np.zeros((len(EMBEDDED), len(EMBEDDED)))
    for state, transitions in enumerate(EMBEDDED[:END]):
        for _, to in transitions:
            chain[state, to] += 1 / len(transitions)
    return float(np.linalg.solve(np.eye(len(EMBEDDED)) - chain, per_state)[START])


@dataclass(frozen=True)
class Reber(Task):
    """Strings of the embedded Reber grammar, of at least 9 symbols.

    All characters count in training. The answer is the repeated key: ``chance`` is the fraction of the strings in
    which a guess is correct. ``baseline_nats`` is the loss of a model that knows the grammar but not the key: ln 2 for
    each choice and for the repeated key, divided by the mean number of characters and ends.
    """

    name: ClassVar[str] = "reber"
    mark: ClassVar[str | None] = None

    @property
    def chance(self) -> float:
        return 1 / len(KEYS)

    @property
    def baseline_nats(self) -> float:
        choices = _expected(np.array([float(len(transitions) > 1) for transitions in EMBEDDED]))
        return (choices + 1) * math.log(2) / (_expected(np.ones(len(EMBEDDED))) + 1)

    def answer(self, string: str) -> str:
        return string[-2:-1]

    def strings(self, count: int, seed: int) -> list[str]:
        draws, transitions = Draws(seed), [(transitions[0], transitions[-1]) for transitions in EMBEDDED]
        symbols = np.array([alphabet(a + b) for (a, _), (b, _) in transitions])
        follows = np.array([[a, b] for (_, a), (_, b) in transitions])
        state, active, columns = np.full(count, START), np.ones(count, bool), []
        while active.any():
            choice = draws.below(2, count)
            columns.append(np.where(active, symbols[state, choice], 0))
            state = follows[state, choice]
            active &= state != START
        return as_strings(np.stack(columns, 1).astype(np.uint32)) if count else []


@dataclass(frozen=True)
class ContinualReber:
    """Embedded Reber strings concatenated without separators: the model must detect where one ends, and forget (Gers,
    Schmidhuber & Cummins 2000, "Learning to forget")."""

    name: ClassVar[str] = "continual-reber"

    def text(self, characters: int, seed: int) -> str:
        """A text of ``characters`` characters; its last string may be truncated. It depends on the seed alone."""
        check("characters", characters, 1)
        shortest = 9
        return "".join(Reber().strings(-(-characters // shortest), seed))[:characters]

    def repeated_key_positions(self, text: str) -> npt.NDArray[np.int64]:
        """The positions of the repeated keys in a text that starts with a string's beginning. Raises ValueError for
        other texts."""
        return np.array([position for position, state in enumerate(_states(text)) if CLOSING <= state < END], np.int64)

    def allowed(self, text: str) -> list[str]:
        """For each position of such a text, the symbols that the grammar allows after the text before it."""
        return ["".join(symbol for symbol, _ in EMBEDDED[state]) for state in _states(text)]


def _states(text: str) -> Iterator[int]:
    """The state before each symbol."""
    state = START
    for position, symbol in enumerate(text):
        yield state
        transitions = dict(EMBEDDED[state])
        if symbol not in transitions:
            raise ValueError(
                f"not of the grammar: {symbol!r} at position {position}, expected {' or '.join(transitions)}"
            )
        state = transitions[symbol]
