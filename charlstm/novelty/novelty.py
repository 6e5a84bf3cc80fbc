"""How much of a text is new: its n-grams and passages compared with the training text of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charlstm.errors import UserError
from charlstm.novelty.hashes import Ids
from charlstm.novelty.passages import disjoint
from charlstm.novelty.search import SHORTEST, SIZES, search
from charlstm.novelty.training_text import count_characters, countable, joined, training_text
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents

HELD_OUT = 50_000
"""Characters of the held-out text that are measured."""

Progress = Callable[[float], None]
"""Called with the fraction that is done."""


@dataclass(frozen=True)
class Copied:
    """A passage of a text that stands in the training text: ``length`` characters from ``start``, at ``source`` in the
    corpus, in its line ``line``, counted from 1."""

    start: int
    length: int
    source: int
    line: int


@dataclass(frozen=True)
class Novelty:
    """The result for one text, or for the held-out one.

    characters  of the text
    new         n -> the fraction of the n-grams that are not in the training text; None if the text is too short
    copied      the passages of at least 20 characters that are in the training text, longest first
    """

    characters: int
    new: dict[int, float | None]
    copied: tuple[Copied, ...]


@dataclass(frozen=True)
class Report:
    """texts: the result for each text; together: for all of them; held_out: for text of the same author that the model
    was not trained on, which shows what is normal; None if the run has none."""

    texts: tuple[Novelty, ...]
    together: Novelty
    held_out: Novelty | None


def measure(corpus: Corpus, texts: Sequence[Ids], on_progress: Progress = lambda _: None) -> Report:
    """Compare texts (ids; -1: a character outside the vocabulary) with the training split of their corpus.

    Of the held-out text, the first 50,000 characters are compared. Raises UserError if there is no training text, or
    no character to compare.
    """
    if not sum(map(len, texts)):
        raise UserError("there is no text to compare with the training text: it is empty")
    training, held_out = training_text(corpus), _held_out(corpus)
    text, starts = joined([*texts, *held_out], training.vocabulary_size)
    searched = search(training, text, on_progress)
    starts.append(len(text))
    end = starts[len(texts)]
    passages = disjoint(searched.matches, len(text), SHORTEST)
    lines = dict(zip(passages, training.lines([p.source for p in passages]), strict=True))

    def result(begin: int, stop: int) -> Novelty:
        new: dict[int, float | None] = {}
        for n in SIZES:
            counted = countable(text[begin:stop], n, training.vocabulary_size)
            occurs = searched.occurring[n][begin : begin + len(counted)]
            new[n] = float(1 - occurs[counted].mean()) if counted.any() else None
        copied = (
            Copied(p.start - begin, p.length, p.source + training.offset, lines[p])
            for p in passages
            if begin <= p.start < stop
        )
        return Novelty(count_characters(text[begin:stop], training.vocabulary_size), new, tuple(copied))

    each = tuple(result(a, b) for a, b in pairwise(starts[: len(texts) + 1]))
    return Report(each, result(0, end), result(end, len(text)) if held_out else None)


def _held_out(corpus: Corpus) -> list[Ids]:
    """The beginning of the validation split, or its first documents; empty if there is none."""
    if not corpus.has("validation"):
        return []
    split = corpus.split("validation")
    if not isinstance(split, Documents):
        return [split[:HELD_OUT]]
    count = int(np.searchsorted(np.cumsum(split.ends - split.starts), HELD_OUT)) + 1
    return [split.ids[a:b] for a, b in zip(split.starts[:count], split.ends[:count], strict=True)]
