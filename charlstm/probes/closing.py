"""Closing brackets, closing quotes and line ends: characters that depend on an opener, by the distance to it."""

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
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Kind = Literal["bracket", "quote", "line end"]

BINS = ((1, 9), (10, 19), (20, 49), (50, 99), (100, 199), (200, None))
LONGEST_SPAN = 1000
BRACKETS = {")": "(", "]": "[", "}": "{"}
TOKENS = re.compile(r'\\[\\"]|"+|[()\[\]{}]|\n')


@dataclass(frozen=True)
class ClosingCharacter:
    """The occurrences of one closing character in a text of N characters.

    kind       bracket, quote or line end
    symbol     the character, and ``id``, its id in the vocabulary
    positions  where it closes a span, ascending, [C]
    distances  characters from the opener to it; for a line end the length of the line, [C]
    inside     mask of the other characters within an open span, [N]
    outside    mask of the other characters outside of all spans, [N]
    """

    kind: Kind
    symbol: str
    id: int
    positions: Positions
    distances: Positions
    inside: Mask
    outside: Mask


@dataclass(frozen=True)
class DistanceBin:
    """The closing characters at distances from ``low`` to ``high`` (None: unbounded).

    count  number of them; correct: number predicted as the most probable character; nats: mean -ln p
    """

    low: int
    high: int | None
    count: int
    correct: int
    nats: float

    @property
    def accuracy(self) -> float:
        """The fraction that was predicted correctly."""
        return self.correct / self.count


@dataclass(frozen=True)
class Discrimination:
    """Mean p of a closing character where it occurs, at other characters within its spans, and at those outside; None
    without such characters. A model that always predicts the character gives it the same p everywhere."""

    symbol: str
    closing: float
    inside: float | None
    outside: float | None


@dataclass(frozen=True)
class Closing:
    """Predictions at the closing characters of one kind; empty bins are left out."""

    kind: Kind
    bins: tuple[DistanceBin, ...]
    discrimination: tuple[Discrimination, ...]


def find_closing_characters(ids: Ids, vocabulary: Vocabulary) -> tuple[ClosingCharacter, ...]:
    """Find the closing characters of a text ids [N] by its characters alone, without a grammar; those that close
    nothing in it are left out.

    Brackets nest: ``)``, ``]`` and ``}`` close the nearest open opener of their kind, and openers after it stay
    unclosed. Double quotes open and close alternately, starting again after each blank line; two or more in a row are
    ignored (an empty string, or Python's triple quotes), and so is one after a backslash. An opener that is not closed
    within 1,000 characters is ignored. A line end is the newline after a line that is not empty, and a line is open
    from its second character on. CR LF is ignored, since CR determines LF.
    """
    text = _characters(ids, vocabulary)
    closing = []
    for symbol, spans in _spans(text).items():
        if spans:
            starts, positions = np.array(spans, np.int64).T
            symbol_id = vocabulary.symbols.index(symbol)
            open_at, is_other = _covered(starts, positions, len(text)), ids != symbol_id
            distances = positions - starts
            closing.append(
                ClosingCharacter(
                    _kind(symbol), symbol, symbol_id, positions, distances, open_at & is_other, ~open_at & is_other
                )
            )
    return tuple(closing)


def closing_accuracy(closing: Sequence[ClosingCharacter], predictions: TokenPredictions) -> tuple[Closing, ...]:
    """The predictions at the results of :func:`find_closing_characters`, kind by kind.

    ``predictions``, by a network or an n-gram model, are for the same text and include the id of every closing
    character in ``symbols``.

    Raises ValueError for predictions of another text, or without the id of a closing character.
    """
    for item in closing:
        if len(predictions.nats) != len(item.inside) or item.id not in predictions.symbols:
            raise ValueError(f"the predictions are of another text, or do not include {item.symbol!r}")
    results = []
    for kind, members in groupby(closing, key=lambda item: item.kind):
        characters_of_kind = list(members)
        positions, distances = (
            np.concatenate(part) for part in zip(*((s.positions, s.distances) for s in characters_of_kind), strict=True)
        )
        bins = _bins(distances, predictions.correct[positions], predictions.nats[positions])
        results.append(Closing(kind, bins, tuple(_discrimination(item, predictions) for item in characters_of_kind)))
    return tuple(results)


def _characters(ids: Ids, vocabulary: Vocabulary) -> str:
    """The text, one character per id; a byte as the code point of its value."""
    return vocabulary.decode_bytes(ids).decode("latin-1") if vocabulary.kind == "bytes" else vocabulary.decode(ids)


def _kind(symbol: str) -> Kind:
    return "bracket" if symbol in BRACKETS else "quote" if symbol == '"' else "line end"


def _spans(text: str) -> dict[str, list[tuple[int, int]]]:
    """For each closing character, the positions of the opener and the closing character of its spans; a line opens with
    its first character."""
    spans: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in (*BRACKETS, '"', "\n")}
    still_open: list[tuple[str, int]] = []
    quote: int | None = None
    line = 0

    for match in TOKENS.finditer(text):
        character, position = match[0], match.start()
        if character == "\n":
            if not text[line:position].strip():
                quote = None
            if position > line and text[position - 1] != "\r":
                spans[character].append((line, position))
            line = position + 1
        elif character == '"':
            if quote is None or position - quote > LONGEST_SPAN:
                quote = position
            else:
                spans[character].append((quote, position))
                quote = None
        elif character in "()[]{}":
            still_open = [(opener, begin) for opener, begin in still_open if position - begin <= LONGEST_SPAN]
            if character not in BRACKETS:
                still_open.append((character, position))
                continue
            match_index = max(
                (n for n, (opener, _) in enumerate(still_open) if opener == BRACKETS[character]), default=None
            )
            if match_index is not None:
                spans[character].append((still_open[match_index][1], position))
                del still_open[match_index:]
    return spans


def _covered(starts: Positions, ends: Positions, characters: int) -> Mask:
    """Mask of the positions after a start and before its end."""
    changes = np.bincount(starts + 1, minlength=characters + 1) - np.bincount(ends, minlength=characters + 1)
    covered: Mask = changes.cumsum()[:-1] > 0
    return covered


def _bins(distances: Positions, correct: Mask, nats: npt.NDArray[np.floating]) -> tuple[DistanceBin, ...]:
    bins = []
    for low, high in BINS:
        in_bin = (distances >= low) & (distances <= (high or distances.max()))
        if in_bin.any():
            mean = float(nats[in_bin].mean(dtype=np.float64))
            bins.append(DistanceBin(low, high, int(in_bin.sum()), int(correct[in_bin].sum()), mean))
    return tuple(bins)


def _discrimination(item: ClosingCharacter, predictions: TokenPredictions) -> Discrimination:
    p = np.exp(-predictions.symbol_nats[:, predictions.symbols.index(item.id)].astype(np.float64))

    def mean(mask: Mask) -> float | None:
        return float(p[mask].mean()) if mask.any() else None

    return Discrimination(item.symbol, float(p[item.positions].mean()), mean(item.inside), mean(item.outside))
