"""What a trainer needs to know of a text: its size, its characters, its lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.text.blocks import whole_text
from charlstm.text.corpus import SAMPLE_CHARACTERS, Corpus
from charlstm.text.documents import Direction, Documents, Sequences
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
        counts: how often each occurs, the most frequent first.
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
    counts = np.zeros(vocabulary.size, np.int64)
    for piece in _pieces(corpus):
        counts += np.bincount(piece, minlength=vocabulary.size)
    is_text = vocabulary.kind == "characters"
    symbols = [vocabulary.decode([number]) for number in range(vocabulary.size)]
    order = np.argsort(-counts, kind="stable")
    mark = len("".encode(corpus.encoding)) if is_text else 0  # which the text of a corpus does not have
    sizes = [len(symbol.encode(corpus.encoding, "replace")) - mark if is_text else 1 for symbol in symbols]
    return TextStatistics(
        characters=int(counts.sum()),
        bytes=int(counts @ np.array(sizes)),
        alphabet_size=vocabulary.size,
        counts={symbols[number]: int(counts[number]) for number in order},
        lines=_lines(corpus) if is_text else None,
    )


def training_frequencies(corpus: Corpus, direction: Direction) -> npt.NDArray[np.float64]:
    """[V]: the relative frequency of each symbol among those of the training split that count in the loss; of a long
    split, in a random sample of `SAMPLE_CHARACTERS`, always the same. One is added to each count, so that none is zero.
    """
    text = corpus.split("train")
    documents = text if isinstance(text, Documents) else whole_text(text)
    sequences = Sequences(documents, corpus.vocabulary.size, direction)
    positions = np.arange(min(sequences.characters, SAMPLE_CHARACTERS))
    if sequences.characters > len(positions):
        positions = np.sort(random_numbers(len(positions)) % np.uint64(sequences.characters)).astype(np.int64)
    counts = 1 + np.bincount(sequences.at(positions), minlength=corpus.vocabulary.size).astype(np.float64)
    frequencies: npt.NDArray[np.float64] = counts / counts.sum()
    return frequencies


def _pieces(corpus: Corpus) -> Iterator[np.ndarray[tuple[int], np.dtype[np.unsignedinteger]]]:
    return (np.asarray(corpus.ids[begin : begin + PIECE]) for begin in range(0, corpus.ids.size, PIECE))


def _lines(corpus: Corpus) -> LineStatistics:
    lengths, seen = list[int](), set[int]()
    empty = repeated = carriage_returns = 0
    for line in _each_line(corpus):
        lengths.append(len(line))
        carriage_returns += line.endswith("\r")
        if not line.strip():
            empty += 1
            continue
        number = hash(line)  # 64 bits: among a billion lines, two different ones collide with a probability of 3%
        repeated += number in seen
        seen.add(number)
    return LineStatistics(
        len(lengths), min(lengths), float(np.median(lengths)), max(lengths), empty, repeated, carriage_returns
    )


def _each_line(corpus: Corpus) -> Iterator[str]:
    rest = ""
    for piece in _pieces(corpus):
        *lines, rest = (rest + corpus.vocabulary.decode(piece)).split("\n")
        yield from lines
    if rest:
        yield rest
