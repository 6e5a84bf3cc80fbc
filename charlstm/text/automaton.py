"""Which characters may come next in a text that is to match a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.pattern import Choice, Node, Repeat, Sequence, Symbol, compile_quietly, parse_pattern, too_deep
from charlstm.text.vocabulary import Vocabulary

MAX_POSITIONS = 2000
MAX_LISTED = 8

Positions = int
"""A set of positions: bit k is set if it has position k."""

START: Positions = 1
"""The state before the first character."""


@dataclass(frozen=True)
class _Fragment:
    """A part of the pattern: whether it matches the empty text, and with which positions a match begins and ends."""

    nullable: bool
    first: Positions
    last: Positions


_EMPTY = _Fragment(True, 0, 0)


class Automaton:
    """The position automaton of a pattern (Glushkov 1961), over the ids of a vocabulary.

    Each symbol of the pattern is a position, 1 or above, repetitions written out; position 0 is the start. A state is
    the set of positions at which the text so far may have ended. ``backward``: characters come from right to left.

    Raises UserError for a pattern that :func:`parse_pattern` refuses, that is too long or nested too deeply, or that no
    text of the vocabulary matches.
    """

    def __init__(self, pattern: str, vocabulary: Vocabulary, backward: bool = False) -> None:
        tree, flags = parse_pattern(pattern, vocabulary.kind == "bytes")
        self._pattern, self._backward = pattern, backward
        self._symbols: list[Symbol] = [Symbol("")]
        self._follow: list[Positions] = [0]
        try:
            whole = self._build(tree)
        except RecursionError:
            raise too_deep(pattern) from None
        self._follow[0] = whole.first
        self._final = whole.last | (START if whole.nullable else 0)
        self._set_classes(vocabulary, flags)
        self._set_distances()
        if not any(within & START for within in self._within):
            unknown = sorted({s.literal for s in self._symbols if s.literal} - set(vocabulary.symbols))
            names = [f"0x{ord(c):02X}" if vocabulary.kind == "bytes" else repr(c) for c in unknown[:MAX_LISTED]]
            reason = f": it does not know {', '.join(names)}" if names else ""
            raise UserError(f"the pattern {pattern!r} matches no text that the model can write{reason}")

    @property
    def min_length(self) -> int:
        """The length of the shortest text that matches."""
        return next(length for length, within in enumerate(self._within) if within & START)

    def check_length(self, length: int) -> None:
        """Raises UserError if no text of at most this length matches."""
        if length < self.min_length:
            raise UserError(
                f"the shortest text that matches {self._pattern!r} has {self.min_length:,} characters, and length is "
                f"{length:,}: give a larger one"
            )

    def matches(self, state: Positions) -> bool:
        """Whether the text so far matches."""
        return bool(state & self._final)

    def after(self, state: Positions, symbol: int) -> Positions:
        """The state after one more character, given as its id."""
        return self._reach(state) & self._classes[int(self._class_of[symbol])]

    def allowed(self, state: Positions, remaining: int) -> npt.NDArray[np.bool_]:
        """For each id [V] whether it may come next: a match exists that has at most ``remaining`` characters more."""
        if remaining < 1:
            return np.zeros(len(self._class_of), bool)
        reach = self._reach(state) & self._within[min(remaining, len(self._within)) - 1]
        return np.array([bool(reach & positions) for positions in self._classes]).take(self._class_of)

    def _reach(self, state: Positions) -> Positions:
        reach = 0
        for position in _positions(state):
            reach |= self._follow[position]
        return reach

    def _set_classes(self, vocabulary: Vocabulary, flags: re.RegexFlag) -> None:
        """Ids that belong to the same positions form a class: ``_class_of`` [V], ``_classes`` the positions of each."""
        of_source: dict[str, Positions] = {}
        for position, symbol in enumerate(self._symbols):
            of_source[symbol.source] = of_source.get(symbol.source, 0) | 1 << position
        of_id, ids = [0] * vocabulary.size, {symbol: i for i, symbol in enumerate(vocabulary.symbols)}
        literals = {s.source: s.literal for s in self._symbols if s.literal and not flags & re.IGNORECASE}
        for source, positions in of_source.items():
            if source in literals:
                matching = [ids[literals[source]]] if literals[source] in ids else []
            else:
                match = compile_quietly(source, flags).fullmatch
                matching = [i for i, character in enumerate(vocabulary.symbols) if match(character)]
            for i in matching:
                of_id[i] |= positions
        numbers = {positions: number for number, positions in enumerate(dict.fromkeys(of_id))}
        self._classes = list(numbers)
        self._class_of: npt.NDArray[np.int64] = np.array([numbers[positions] for positions in of_id])

    def _set_distances(self) -> None:
        """``_within[n]``: the positions from which a match ends after at most n characters more, up to the largest n
        that matters."""
        usable = START
        for positions in self._classes:
            usable |= positions
        within = self._final & usable
        self._within, remaining = [within], usable & ~within
        while step := sum(1 << p for p in _positions(remaining) if self._follow[p] & within):
            within, remaining = within | step, remaining & ~step
            self._within.append(within)

    def _build(self, node: Node) -> _Fragment:
        if isinstance(node, Symbol):
            return self._position(node)
        if isinstance(node, Choice):
            return _either([self._build(part) for part in node.parts])
        if isinstance(node, Sequence):
            return self._join([self._build(part) for part in node.parts])
        assert isinstance(node, Repeat)
        return self._repeat(node.part, node.low, node.high)

    def _repeat(self, node: Node, low: int, high: int | None) -> _Fragment:
        """The part written out: ``low`` copies, then a loop over the last one, or optional copies within each other."""
        first = self._build(node)
        if high == 0 or not first.first:
            return _EMPTY
        copies = [first, *(self._build(node) for _ in range(max(low, 1) - 1))]
        if high is None:
            self._connect(copies[-1], copies[-1])
        rest = _EMPTY
        for _ in range(0 if high is None else high - max(low, 1)):
            rest = _optional(self._join([self._build(node), rest]))
        whole = self._join([*copies, rest])
        return whole if low else _optional(whole)

    def _position(self, symbol: Symbol) -> _Fragment:
        position = 1 << len(self._symbols)
        if len(self._symbols) > MAX_POSITIONS:
            raise UserError(
                f"the pattern {self._pattern!r} is too long: written out, its repetitions have more than "
                f"{MAX_POSITIONS:,} characters"
            )
        self._symbols.append(symbol)
        self._follow.append(0)
        return _Fragment(False, position, position)

    def _join(self, parts: list[_Fragment]) -> _Fragment:
        whole = _EMPTY
        for part in reversed(parts) if self._backward else parts:
            self._connect(whole, part)
            first = whole.first | (part.first if whole.nullable else 0)
            last = part.last | (whole.last if part.nullable else 0)
            whole = _Fragment(whole.nullable and part.nullable, first, last)
        return whole

    def _connect(self, before: _Fragment, after: _Fragment) -> None:
        for position in _positions(before.last):
            self._follow[position] |= after.first


def _optional(part: _Fragment) -> _Fragment:
    return _Fragment(True, part.first, part.last)


def _either(parts: list[_Fragment]) -> _Fragment:
    first = last = 0
    for part in parts:
        first, last = first | part.first, last | part.last
    return _Fragment(any(part.nullable for part in parts), first, last)


def _positions(positions: Positions) -> Iterator[int]:
    """The positions of a set, ascending."""
    while positions:
        lowest = positions & -positions
        yield lowest.bit_length() - 1
        positions ^= lowest
