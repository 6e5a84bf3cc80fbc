"""Characters of a text that depend on something earlier, by the kind of dependency and the distance to it.

The kinds are found by the characters alone, without a parser:

closing bracket, closing quote, line end    as in :mod:`charlstm.probes.closing`
indentation     the first character after a line's indentation; the line before it that is not blank shows how deep the
                text is indented, the distance is that to its first character after the indentation
speaker         the characters of a name in a play, on a line ``NAME:`` of its own, that has spoken before; the distance
                is that to the name's last line
repeated word   from the second character on, a word of 4 letters or more that occurred earlier, as written; the
                distance is that to its last occurrence
new word        the same of a word that did not occur earlier, as a control; the distance is 0
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from charlstm.evaluation import TokenPredictions
from charlstm.probes.closing import characters_of, find_closing_characters
from charlstm.text.vocabulary import Vocabulary

Kind = Literal["closing bracket", "closing quote", "line end", "indentation", "speaker", "repeated word", "new word"]
Ids: TypeAlias = npt.NDArray[np.integer]
Positions: TypeAlias = npt.NDArray[np.int64]

BINS = ((0, 0), (1, 9), (10, 19), (20, 49), (50, 99), (100, 199), (200, 499), (500, 999), (1000, None))
"""Distances from and to; None: unbounded."""

CLOSING: dict[str, Kind] = {"bracket": "closing bracket", "quote": "closing quote", "line end": "line end"}
INDENTED = re.compile(r"^([ \t]*)[^\s]", re.MULTILINE)
SPEAKER = re.compile(r"^([^\W\d_]+(?:[ .'’-]+[^\W\d_]+)*[.]?):[ \t]*$", re.MULTILINE)
LONGEST_NAME = 40
WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Dependency:
    """The characters of one kind: their positions in the text, ascending, and the distances to what they depend on,
    each [C]."""

    kind: Kind
    positions: Positions
    distances: Positions


@dataclass(frozen=True)
class DependencyLoss:
    """The predictions at the characters of one kind at distances from ``low`` to ``high`` (None: unbounded).

    positions   in the text, ascending, [C]; they depend on the text alone, so that two models are compared in pairs
    nats        -ln p of each, [C]
    correct     whether each was the most probable character, [C]
    """

    kind: Kind
    low: int
    high: int | None
    positions: Positions
    nats: npt.NDArray[np.floating]
    correct: npt.NDArray[np.bool_]


def find_dependencies(ids: Ids, vocabulary: Vocabulary) -> tuple[Dependency, ...]:
    """The dependent characters of a text ids [N], in the order of the kinds; kinds without any are left out."""
    text = characters_of(ids, vocabulary)
    pairs: dict[Kind, list[tuple[int, int]]] = {kind: [] for kind in get_args(Kind)}
    for closing in find_closing_characters(ids, vocabulary):
        pairs[CLOSING[closing.kind]] += zip(closing.positions.tolist(), closing.distances.tolist(), strict=True)
    pairs["indentation"] = list(_indentation(text))
    pairs["speaker"] = list(_speakers(text))
    for kind, position, distance in _words(text):
        pairs[kind].append((position, distance))
    return tuple(Dependency(kind, *np.array(sorted(of_kind), np.int64).T) for kind, of_kind in pairs.items() if of_kind)


def dependency_losses(dependencies: Sequence[Dependency], predictions: TokenPredictions) -> tuple[DependencyLoss, ...]:
    """The predictions at the results of :func:`find_dependencies`, by kind and distance; empty bins are left out.

    ``predictions``, by a network or an n-gram model, are for the same text. Raises ValueError for those of a shorter
    text.
    """
    losses = []
    for one in dependencies:
        if one.positions[-1] >= len(predictions.nats):
            raise ValueError(f"the predictions are of another text, of {len(predictions.nats)} characters")
        for low, high in BINS:
            is_in = (one.distances >= low) & ((one.distances <= high) if high is not None else True)
            if is_in.any():
                at = one.positions[is_in]
                losses.append(DependencyLoss(one.kind, low, high, at, predictions.nats[at], predictions.correct[at]))
    return tuple(losses)


def _indentation(text: str) -> Iterator[tuple[int, int]]:
    """Position and distance of the first character of each indented line after another line."""
    before: int | None = None
    for line in INDENTED.finditer(text):
        if line[1] and before is not None:
            yield line.end(1), line.end(1) - before
        before = line.end(1)


def _speakers(text: str) -> Iterator[tuple[int, int]]:
    last: dict[str, int] = {}
    for line in SPEAKER.finditer(text):
        name, start = line[1], line.start()
        if len(name) > LONGEST_NAME:
            continue
        if name in last:
            yield from ((position, start - last[name]) for position in range(start, line.end(1)))
        last[name] = start


def _words(text: str) -> Iterator[tuple[Kind, int, int]]:
    last: dict[str, int] = {}
    for match in WORD.finditer(text):
        word, start = match[0], match.start()
        distance = start - last[word] if word in last else 0
        kind: Kind = "repeated word" if word in last else "new word"
        yield from ((kind, position, distance) for position in range(start + 1, match.end()))
        last[word] = start
