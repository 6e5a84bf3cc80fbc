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

from charlstm.probes.tasks.base import Draws, Numbers, Task, alphabet, as_strings, check

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


TO_FIRST, TO_SECOND = (np.array([transitions[n][1] for transitions in EMBEDDED]) for n in (0, -1))
HAS_CHOICE = np.array([len(transitions) > 1 for transitions in EMBEDDED])
IS_INNER = np.array([FIRST_INNER <= state < CLOSING for state in range(len(EMBEDDED))])

Values = npt.NDArray[np.float64]


def _expected(per_state: Values) -> Values:
    """The expected sum of ``per_state`` [states] from each state to the end of the string: v = per_state + P v."""
    chain = np.zeros((len(EMBEDDED), len(EMBEDDED)))
    for state, transitions in enumerate(EMBEDDED[:END]):
        for _, to in transitions:
            chain[state, to] += 1 / len(transitions)
    expected: Values = np.linalg.solve(np.eye(len(EMBEDDED)) - chain, per_state).astype(np.float64)
    return expected


def _entropy(p: Values) -> Values:
    """Of a choice with probabilities p and 1 - p, in nats."""
    q = np.stack([p, 1 - p])
    entropy: Values = -(q * np.log(q, where=q > 0, out=np.zeros_like(q))).sum(0)
    return entropy


@dataclass(frozen=True)
class Reber(Task):
    """Strings of the embedded Reber grammar, of at least 9 symbols.

    ``min_inner`` is the smallest number of symbols of the inner string, from its B to its E (at least 5 in any case);
    the strings are those of the grammar under this condition, each with its probability in the grammar. The key recurs
    one symbol after the inner string; with 40, the median distance is 43 symbols.

    All characters count in training. The answer is the repeated key: ``chance`` is the fraction of the strings in
    which a guess is correct. ``baseline_nats`` is the loss of a model that knows the grammar, the condition and the
    position, but not the key: the entropy of each choice and ln 2 for the repeated key, divided by the mean number of
    characters and ends.

    Short strings are few: 1,036 have up to 20 symbols, and 97% of the strings that are drawn are among them. So most
    test strings drawn with another seed stand in a training text too, if they are not left out there.
    """

    name: ClassVar[str] = "reber"
    mark: ClassVar[str | None] = None

    min_inner: int = 0

    def __post_init__(self) -> None:
        check("min_inner", self.min_inner, 0, 1000)

    @property
    def chance(self) -> float:
        return 1 / len(KEYS)

    @property
    def baseline_nats(self) -> float:
        nats = characters = 0.0
        in_state = np.eye(len(EMBEDDED))[START]  # the probability of each state before the next symbol
        for first in self._first_choices():
            nats += float(in_state @ (_entropy(first) * HAS_CHOICE))
            characters += float(in_state.sum())
            after = np.zeros(len(EMBEDDED))
            np.add.at(after, TO_FIRST, in_state * first)
            np.add.at(after, TO_SECOND, in_state * (1 - first))
            in_state = after
        nats += float(in_state @ _expected(HAS_CHOICE * math.log(2)))
        characters += float(in_state @ _expected(np.ones(len(EMBEDDED))))
        return (nats + math.log(2)) / (characters + 1)

    def answer(self, string: str) -> str:
        return string[-2:-1]

    def strings(self, count: int, seed: int) -> list[str]:
        draws, transitions = Draws(seed), [(transitions[0], transitions[-1]) for transitions in EMBEDDED]
        symbols = np.array([alphabet(a + b) for (a, _), (b, _) in transitions])
        follows, bound = np.stack([TO_FIRST, TO_SECOND], 1), 1 << 31
        thresholds = np.round(self._first_choices() * bound).astype(np.int64)
        state, active, columns = np.full(count, START), np.ones(count, bool), list[Numbers]()
        while active.any():
            threshold = thresholds[min(len(columns), len(thresholds) - 1), state]
            choice = (draws.below(bound, count) >= threshold).astype(np.int64)
            columns.append(np.where(active, symbols[state, choice], 0))
            state = follows[state, choice]
            active &= state != START
        return as_strings(np.stack(columns, 1).astype(np.uint32)) if count else []

    def _first_choices(self) -> Values:
        """For each position and state, the probability of the first transition given that the inner string is long
        enough, [min_inner + 2, states]; 1/2 at all positions after them.

        With S_r(s) the probability that at least r symbols of the inner string follow from state s, the transition to a
        has the probability S_r(a) / (S_r(a) + S_r(b)), with r the number of symbols needed after it.
        """
        follow = [np.ones(len(EMBEDDED))]
        for _ in range(self.min_inner):
            follow.append(IS_INNER * (follow[-1][TO_FIRST] + follow[-1][TO_SECOND]) / 2)
        first = np.full((self.min_inner + 2, len(EMBEDDED)), 0.5)
        for position in range(FIRST_INNER, len(first)):
            needed = follow[self.min_inner + 1 - position]
            a, b = needed[TO_FIRST], needed[TO_SECOND]
            np.divide(a, a + b, where=a + b > 0, out=first[position])
        return first


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
