"""The training text of a run as a searchable array, and the texts that are looked up in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charlstm.novelty.hashes import Flags, Ids, Positions
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.memory_map import release

UNKNOWN, SEPARATOR, SPECIAL = 1, 2, 3
"""Beyond V: the id V + 1 is a character outside the vocabulary, V + 2 is between texts; V is outside of the training
documents. None of them occurs in the other array, so that no match contains one."""
BLOCK = 1 << 24


class DocumentIds:
    """The ids [N] of a corpus in which everything but some documents is ``outside``, read by slices and by arrays of
    positions, as an array is; without a copy."""

    def __init__(self, documents: Documents, outside: int) -> None:
        order = np.argsort(documents.starts)
        self._ids, self._outside = documents.ids, np.array(outside, np.min_scalar_type(outside))
        self._starts, self._ends = documents.starts[order], documents.ends[order]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: slice | Positions) -> Ids:
        if isinstance(index, slice):
            begin, end, _ = index.indices(len(self))
            first, last = np.searchsorted(self._ends, begin, side="right"), np.searchsorted(self._starts, end)
            change = np.zeros(max(0, end - begin) + 1, np.int8)
            change[np.maximum(self._starts[first:last], begin) - begin] += 1
            change[np.minimum(self._ends[first:last], end) - begin] -= 1
            inside = np.cumsum(change[:-1], dtype=np.int8).astype(bool)
        else:
            document = np.searchsorted(self._starts, index, side="right") - 1
            inside = (document >= 0) & (index < self._ends[document])
        return np.where(inside, self._ids[index].astype(self._outside.dtype), self._outside)


@dataclass(frozen=True)
class TrainingText:
    """``ids`` [N]: the training split, a memory map, or for documents the whole corpus, in which everything but the
    training documents is V. ``offset``: the position of the first of them in the corpus."""

    ids: Ids | DocumentIds
    vocabulary_size: int
    offset: int
    corpus: Ids
    newline: int

    @property
    def symbols(self) -> int:
        """Number of different ids in these arrays and in those of :func:`joined`."""
        return self.vocabulary_size + SPECIAL

    def lines(self, positions: Sequence[int]) -> list[int]:
        """The numbers of the lines, from 1, in which these positions of the training text stand in the corpus."""
        wanted = np.array(sorted({p + self.offset for p in positions}), np.int64)
        numbers: dict[int, int] = {}
        before = 0
        for begin in range(0, int(wanted.max(initial=-1)) + 1, BLOCK):
            ends = np.flatnonzero(self.corpus[begin : begin + BLOCK] == self.newline) + begin
            inside = wanted[(wanted >= begin) & (wanted < begin + BLOCK)]
            numbers |= dict(zip(inside.tolist(), (before + 1 + np.searchsorted(ends, inside)).tolist(), strict=True))
            before += len(ends)
        release(self.corpus)
        return [numbers[p + self.offset] for p in positions]


def training_text(corpus: Corpus) -> TrainingText:
    """The training split of a corpus."""
    size = corpus.vocabulary.size
    (newline,) = corpus.vocabulary.ids_of_codes(np.array([10], np.uint32)).tolist()
    split = corpus.split("train")
    if not isinstance(split, Documents):
        return TrainingText(split, size, corpus.splits["train"].start, corpus.ids, newline)
    return TrainingText(DocumentIds(split, size), size, 0, corpus.ids, newline)


def joined(texts: Sequence[Ids], vocabulary_size: int) -> tuple[Ids, list[int]]:
    """The texts, each followed by a separator, in one array, and the position of each; an id of -1 is unknown."""
    parts = [part for text in texts for part in (np.asarray(text, np.int64), [vocabulary_size + SEPARATOR])]
    ids = np.concatenate([np.empty(0, np.int64), *parts])
    ids[ids < 0] = vocabulary_size + UNKNOWN
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1]
    return ids.astype(np.min_scalar_type(vocabulary_size + SPECIAL)), starts.tolist()


def countable(text: Ids, size: int, vocabulary_size: int) -> Flags:
    """Whether each n-gram [M - n + 1] of joined texts is within one of them."""
    separators = np.concatenate([[0], np.cumsum(text == vocabulary_size + SEPARATOR)])
    within: Flags = separators[size:] == separators[: max(0, len(separators) - size)]
    return within


def count_characters(text: Ids, vocabulary_size: int) -> int:
    """Number of characters of joined texts."""
    return int((text != vocabulary_size + SEPARATOR).sum())
