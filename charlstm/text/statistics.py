"""What a trainer needs to know of a text: its size, its characters, its lines."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.text.blocks import as_documents
from charlstm.text.corpus import SAMPLE_CHARACTERS, Corpus
from charlstm.text.documents import Direction, Sequences
from charlstm.text.memory_map import release
from charlstm.text.random_numbers import random_numbers
from charlstm.units import bits

RARE = 5
"""Characters that occur fewer times are rare: a model hardly learns them."""
PIECE = 1 << 20


@dataclass(frozen=True)
class LineStatistics:
    """The lines of a text: their number, the lengths in characters without the line end, how many are empty, how many
    repeat an earlier line that is not empty, and how many end in a carriage return."""

    count: int
    shortest: int
    median: float
    longest: int
    empty: int
    repeated: int
    carriage_returns: int


@dataclass(frozen=True)
class TextStatistics:
    """The statistics of a text.

    Attributes:
        characters: number of characters, or of bytes if it is read as bytes.
        bytes: of the encoded text, without a byte-order mark.
        alphabet_size: number V of distinct characters.
        counts: how often each occurs, the most frequent first; a byte that is not ASCII is named as 0xE2.
        lines: None if the text is read as bytes.
    """

    characters: int
    bytes: int
    alphabet_size: int
    counts: dict[str, int]
    lines: LineStatistics | None

    @property
    def uniform_bits(self) -> float:
        """The score in bits of a model that knows only the alphabet: log2 V."""
        return bits(math.log(self.alphabet_size))

    @property
    def entropy_bits(self) -> float:
        """The entropy in bits of the frequencies of single characters."""
        return -sum(n / self.characters * math.log2(n / self.characters) for n in self.counts.values())

    @property
    def rare(self) -> list[str]:
        """The characters that occur fewer than 5 times."""
        return [symbol for symbol, count in self.counts.items() if count < RARE]


def text_statistics(corpus: Corpus) -> TextStatistics:
    """The statistics of a whole corpus, all splits together, in constant memory except for one number a line."""
    vocabulary = corpus.vocabulary
    counts = symbol_counts(corpus.ids, vocabulary.size)
    is_text = vocabulary.kind == "characters"
    symbols = [vocabulary.symbol_name(number) for number in range(vocabulary.size)]
    order = np.argsort(-counts, kind="stable")[: corpus.distinct]
    mark = len("".encode(corpus.encoding)) if is_text else 0  # which the text of a corpus does not have
    sizes = [len(symbol.encode(corpus.encoding, "replace")) - mark if is_text else 1 for symbol in symbols]
    return TextStatistics(
        characters=int(counts.sum()),
        bytes=int(counts @ np.array(sizes)),
        alphabet_size=corpus.distinct,
        counts={symbols[number]: int(counts[number]) for number in order},
        lines=_lines(corpus) if is_text else None,
    )


def training_frequencies(corpus: Corpus, direction: Direction) -> npt.NDArray[np.float64]:
    """[V]: the relative frequency of each symbol among those of the training split that count in the loss; of a long
    split, in a random sample of `SAMPLE_CHARACTERS`, always the same. One is added to each count, so that none is zero.
    """
    sequences = Sequences(as_documents(corpus.split("train")), corpus.vocabulary.size, direction)
    positions = np.arange(min(sequences.characters, SAMPLE_CHARACTERS))
    if sequences.characters > len(positions):
        positions = np.sort(random_numbers(len(positions)) % np.uint64(sequences.characters)).astype(np.int64)
    counts = 1 + np.bincount(sequences.at(positions), minlength=corpus.vocabulary.size).astype(np.float64)
    frequencies: npt.NDArray[np.float64] = counts / counts.sum()
    return frequencies


def symbol_counts(ids: npt.NDArray[np.integer], vocabulary_size: int) -> npt.NDArray[np.int64]:
    """[V]: how often each symbol occurs in a text [N], which may be a memory map, in constant memory."""
    counts = np.zeros(vocabulary_size, np.int64)
    for piece in _pieces(ids):
        counts += np.bincount(piece, minlength=vocabulary_size)
    release(ids)
    return counts


def _pieces(ids: npt.NDArray[np.integer]) -> Iterator[npt.NDArray[np.integer]]:
    return (np.asarray(ids[begin : begin + PIECE]) for begin in range(0, len(ids), PIECE))


def _lines(corpus: Corpus) -> LineStatistics:
    lengths, hashes = array("q"), array("q")
    carriage_returns = 0
    for head, text in _each_line(corpus):
        lengths.append(head.length + len(text))
        carriage_returns += text.endswith("\r")
        if text and not (head.is_blank and text.isspace()):
            hashes.append(hash((head.hash, text)))
    count, repeated = len(lengths), len(hashes) - len(np.unique(hashes))
    release(corpus.ids)
    return LineStatistics(
        count, min(lengths), float(np.median(lengths)), max(lengths), count - len(hashes), repeated, carriage_returns
    )


class _Head(NamedTuple):
    """What is remembered of the beginning of a line that is longer than a piece. Of a billion lines, two different ones
    have the same 64-bit hash with a probability of 3%."""

    length: int = 0
    hash: int = 0
    is_blank: bool = True

    def extended(self, text: str) -> tuple[_Head, str]:
        """The head of a line, and at most a piece of the text after it, at least one character of a text that has
        any."""
        head = self
        while len(text) > PIECE:
            part, text = text[:PIECE], text[PIECE:]
            head = _Head(head.length + PIECE, hash((head.hash, part)), head.is_blank and part.isspace())
        return head, text


def _each_line(corpus: Corpus) -> Iterator[tuple[_Head, str]]:
    """The lines without line feeds, in constant memory however long they are."""
    head, rest = _Head(), ""
    for piece in _pieces(corpus.ids):
        first, *others = (rest + corpus.vocabulary.decode(piece)).split("\n")
        head, rest = head.extended(first)
        for line in others:
            yield head, rest
            head, rest = _Head().extended(line)
    if rest:
        yield head, rest
