"""Searches the n-grams and passages of a text in the training text, which is read once.

The n-grams of the text, which is short, are indexed by their hashes. The training text is read in blocks, so that the
memory does not depend on its length. Most of it is decided by two look-ups for each character, of the n-grams of 5 and
of 10: an n-gram of 20 can only stand where one of 10 follows one of 10. Where there is one of 20, the common passage
around it is determined, too. Equal hashes alone count for nothing: the ids are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlstm.novelty.hashes import Flags, Hashes, Ids, Positions, joined_hashes, ngram_hashes
from charlstm.novelty.ngram_index import NgramIndex
from charlstm.novelty.passages import Matches, first_sources, maximal_matches
from charlstm.novelty.training_text import TrainingText
from charlstm.text.memory_map import release

SIZES = (5, 10, 20, 40)
SHORTEST = 20
"""Characters of the shortest passage."""
BLOCK = 1 << 15
RELEASED = 1 << 10
"""Blocks after which the pages of the memory map are released."""
MAX_PLACES, MAX_SOURCES = 32, 256
"""The places of one n-gram of 20 in the text, and in the training text, around which passages are determined. More are
skipped: they would only be of a repetition, such as a line of dashes, of which there are other n-grams."""
MAX_PAIRS = 1 << 20


@dataclass(frozen=True)
class SearchResult:
    """occurring: n -> whether each n-gram of the text [M - n + 1] occurs in the training text; ``matches``: the common
    passages of at least 20 characters, rows of start, length and first source."""

    occurring: dict[int, Flags]
    matches: Matches


def search(training: TrainingText, text: Ids, on_progress: Callable[[float], None] = lambda _: None) -> SearchResult:
    """Search all n-grams of a text [M], which is made by :func:`~charlstm.novelty.training_text.joined`."""
    ids = training.ids
    hashes = ngram_hashes(text, SIZES, training.symbols)
    indexes = {n: NgramIndex(text, n, hashes[n]) for n in SIZES}
    passages = _Passages(training, text, indexes[SHORTEST])
    for number, begin in enumerate(range(0, len(ids), BLOCK)):
        block = np.asarray(ids[begin : begin + BLOCK + SIZES[-1] - 1])
        of_block = ngram_hashes(block, (5, 10), training.symbols)
        indexes[5].look_up(block, None, of_block[5][:BLOCK])
        _look_up_longer(block, of_block[10], indexes, passages, begin)
        if number % RELEASED == 0:
            release(training.corpus)
        on_progress(min(1.0, (begin + BLOCK) / len(ids)))
    release(training.corpus)
    return SearchResult({n: index.occurring() for n, index in indexes.items()}, passages.matches())


def _look_up_longer(
    block: Ids, hashes: Hashes, indexes: dict[int, NgramIndex], passages: _Passages, begin: int
) -> None:
    """Look up the n-grams of 10, 20 and 40 of a block, given the hashes of all of 10."""
    may_be_10 = indexes[10].filter(hashes)
    at = np.flatnonzero(may_be_10)
    indexes[10].look_up(block, at, hashes[at])
    at = np.flatnonzero(may_be_10[:-10] & may_be_10[10:])
    of_20 = joined_hashes(hashes[at], hashes[at + 10], 10)
    hits, numbers = indexes[20].find(of_20)
    if not len(hits):
        return
    indexes[20].look_up(block, at[hits], of_20[hits])
    passages.add(begin + at[hits], numbers)
    followed = np.isin(at[hits] + 20, at[hits], assume_unique=True)
    at_40 = at[hits][followed]
    later = np.searchsorted(at[hits], at_40 + 20)
    of_40 = joined_hashes(of_20[hits][followed], of_20[hits][later], 20)
    indexes[40].look_up(block, at_40, of_40)


class _Passages:
    """Collects the common passages around n-grams of 20."""

    def __init__(self, training: TrainingText, text: Ids, index: NgramIndex) -> None:
        self._training, self._text = training, text
        self._order, self._first, self._counts = index.places(MAX_PLACES)
        self._sources = np.zeros(len(self._counts), np.int64)
        self._matches: list[Matches] = [np.empty((0, 3), np.int64)]
        self._limit = MAX_PAIRS

    def add(self, positions: Positions, numbers: Positions) -> None:
        """Extend the n-grams with these numbers at these positions of the training text."""
        wanted = self._sources[numbers] < MAX_SOURCES
        positions, numbers = positions[wanted], numbers[wanted]
        np.add.at(self._sources, numbers, 1)
        for part in np.array_split(np.arange(len(numbers)), 1 + int(self._counts[numbers].sum()) // MAX_PAIRS):
            repeats = self._counts[numbers[part]]
            within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            starts = self._order[np.repeat(self._first[numbers[part]], repeats) + within]
            sources = np.repeat(positions[part], repeats)
            self._matches += maximal_matches(self._training.ids, self._text, sources, starts, SHORTEST)
        if sum(map(len, self._matches)) > self._limit:
            self._limit = MAX_PAIRS + 2 * len(self.matches())

    def matches(self) -> Matches:
        """The matches so far, each with its first source; the others are forgotten."""
        self._matches = [first_sources(np.concatenate(self._matches))]
        return self._matches[0]
