"""The training text of a run as a searchable array, and the texts that are looked up in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charlstm.novelty.hashes import Flags, Ids
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.memory_map import release

UNKNOWN, SEPARATOR, SPECIAL = 1, 2, 3
"""Beyond V: the id V + 1 is a character outside the vocabulary, V + 2 is between texts; V is outside of the training
documents. None of them occurs in the other array, so that no match contains one."""
BLOCK = 1 << 24


@dataclass(frozen=True)
class TrainingText:
    """``ids`` [N]: the training split, a memory map, or for documents a copy of the corpus in which everything but the
    training documents is V. ``offset``: the position of the first of them in the corpus."""

    ids: Ids
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
    ids = np.full(len(corpus.ids), size, np.min_scalar_type(size))
    change = np.zeros(len(ids) + 1, np.int8)
    change[split.starts] += 1
    change[split.ends] -= 1
    for begin in range(0, len(ids), BLOCK):
        part = change[begin : begin + BLOCK]
        inside = np.cumsum(part, dtype=np.int8)[: len(ids) - begin].astype(bool)
        np.copyto(ids[begin : begin + BLOCK], corpus.ids[begin : begin + BLOCK], where=inside, casting="unsafe")
        if begin + BLOCK < len(change):
            change[begin + BLOCK] += inside[-1]
    release(corpus.ids)
    return TrainingText(ids, size, 0, corpus.ids, newline)


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
