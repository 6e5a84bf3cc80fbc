"""Closing brackets, closing quotes and line ends: characters that depend on one far back, by the distance to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt

from charlstm.evaluation import TokenPredictions
from charlstm.text.vocabulary import Vocabulary

Ids = npt.NDArray[np.integer]
Places = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]
Kind = Literal["bracket", "quote", "line end"]

BINS = ((1, 9), (10, 19), (20, 49), (50, 99), (100, 199), (200, None))
LONGEST_SPAN = 1000
BRACKETS = {")": "(", "]": "[", "}": "{"}
SIGNS = re.compile(r'\\[\\"]|"+|[()\[\]{}]|\n')


@dataclass(frozen=True)
class ClosingSign:
    """Where one sign closes something in a text of N characters.

    kind       bracket, quote or line end
    symbol     the sign, and ``id``, its id in the vocabulary
    places     where it closes, ascending, [C]
    distances  characters from the opener to it, of a line end the length of the line, [C]
    inside     the places of other characters where what it closes is open, [N]
    outside    the places of other characters where it is not, [N]
    """

    kind: Kind
    symbol: str
    id: int
    places: Places
    distances: Places
    inside: Marks
    outside: Marks


@dataclass(frozen=True)
class DistanceBin:
    """The closing places at the distances from ``low`` to ``high`` (None: and more).

    count  places; right: those where the sign was the most probable character; nats: mean -ln p of it
    """

    low: int
    high: int | None
    count: int
    right: int
    nats: float

    @property
    def share(self) -> float:
        """The share that was right."""
        return self.right / self.count


@dataclass(frozen=True)
class Discrimination:
    """Mean p of a sign where it closes, at other characters inside of what it closes, and at those outside; None where
    there are none. A model that always expects the sign gives it the same p everywhere."""

    symbol: str
    closing: float
    inside: float | None
    outside: float | None


@dataclass(frozen=True)
class Closing:
    """What was expected at the closing signs of one kind; bins without a place are left out."""

    kind: Kind
    bins: tuple[DistanceBin, ...]
    discrimination: tuple[Discrimination, ...]


def closing_signs(ids: Ids, vocabulary: Vocabulary) -> tuple[ClosingSign, ...]:
    """Finds what closes in a text ids [N] by its characters alone, without any grammar; signs that close nothing in it
    are left out.

    Brackets nest: ``)``, ``]`` and ``}`` close the nearest opener of their sort that is open, and what was opened
    after it stays without a close. Double quotes open and close in turn, anew after each blank line; two or more in a
    row count as none (an empty string, or Python's long quotes), nor does one after a backslash. What was not closed
    within 1,000 characters is given up. A line end is the newline after a line that is not empty, and a line is open
    from its second character on: before the first there is nothing to close. CR LF counts as none, for LF follows from
    CR.
    """
    text = _characters(ids, vocabulary)
    found = []
    for symbol, begins_and_ends in _spans(text).items():
        if begins_and_ends:
            begins, places = np.array(begins_and_ends, np.int64).T
            number = vocabulary.symbols.index(symbol)
            open_at, other = _covered(begins, places, len(text)), ids != number
            distances = places - begins
            found.append(
                ClosingSign(_kind(symbol), symbol, number, places, distances, open_at & other, ~open_at & other)
            )
    return tuple(found)


def closing_accuracy(signs: Sequence[ClosingSign], foresight: TokenPredictions) -> tuple[Closing, ...]:
    """What was expected at the signs that :func:`closing_signs` found, kind by kind. The foresight, of a network or of
    an n-gram model, is that of the same text, and asked about the id of every sign.

    Raises ValueError for a foresight of another text, or one that was not asked about a sign.
    """
    for sign in signs:
        if len(foresight.nats) != len(sign.inside) or sign.id not in foresight.symbols:
            raise ValueError(f"this foresight is of another text, or was not asked about {sign.symbol!r}")
    found = []
    for kind, members in groupby(signs, key=lambda sign: sign.kind):
        own = list(members)
        places, distances = (np.concatenate(part) for part in zip(*((s.places, s.distances) for s in own), strict=True))
        bins = _bins(distances, foresight.right[places], foresight.nats[places])
        found.append(Closing(kind, bins, tuple(_discrimination(sign, foresight) for sign in own)))
    return tuple(found)


def _characters(ids: Ids, vocabulary: Vocabulary) -> str:
    """The text, one character for each id: of bytes, each as the code point of its value."""
    return vocabulary.decode_bytes(ids).decode("latin-1") if vocabulary.kind == "bytes" else vocabulary.decode(ids)


def _kind(symbol: str) -> Kind:
    return "bracket" if symbol in BRACKETS else "quote" if symbol == '"' else "line end"


def _spans(text: str) -> dict[str, list[tuple[int, int]]]:
    """For each closing sign, where its spans begin and where the sign stands; of a line, where its first character
    stands."""
    found: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in (*BRACKETS, '"', "\n")}
    still_open: list[tuple[str, int]] = []
    quote: int | None = None
    line = 0

    for match in SIGNS.finditer(text):
        sign, place = match[0], match.start()
        if sign == "\n":
            if not text[line:place].strip():
                quote = None
            if place > line and text[place - 1] != "\r":
                found[sign].append((line, place))
            line = place + 1
        elif sign == '"':
            if quote is None or place - quote > LONGEST_SPAN:
                quote = place
            else:
                found[sign].append((quote, place))
                quote = None
        elif sign in "()[]{}":
            still_open = [(own, begin) for own, begin in still_open if place - begin <= LONGEST_SPAN]
            if sign not in BRACKETS:
                still_open.append((sign, place))
                continue
            nearest = max((n for n, (own, _) in enumerate(still_open) if own == BRACKETS[sign]), default=None)
            if nearest is not None:
                found[sign].append((still_open[nearest][1], place))
                del still_open[nearest:]
    return found


def _covered(begins: Places, ends: Places, characters: int) -> Marks:
    """The places after a begin and up to its end."""
    changes = np.bincount(begins + 1, minlength=characters + 1) - np.bincount(ends, minlength=characters + 1)
    covered: Marks = changes.cumsum()[:-1] > 0
    return covered


def _bins(distances: Places, right: Marks, nats: npt.NDArray[np.floating]) -> tuple[DistanceBin, ...]:
    found = []
    for low, high in BINS:
        own = (distances >= low) & (distances <= (high or distances.max()))
        if own.any():
            mean = float(nats[own].mean(dtype=np.float64))
            found.append(DistanceBin(low, high, int(own.sum()), int(right[own].sum()), mean))
    return tuple(found)


def _discrimination(sign: ClosingSign, foresight: TokenPredictions) -> Discrimination:
    p = np.exp(-foresight.symbol_nats[:, foresight.symbols.index(sign.id)].astype(np.float64))

    def mean(marked: Marks) -> float | None:
        return float(p[marked].mean()) if marked.any() else None

    return Discrimination(sign.symbol, float(p[sign.places].mean()), mean(sign.inside), mean(sign.outside))
