"""Independent documents of a text: their boundaries, their order, and how a network reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.memory_map import release
from charlstm.text.random_numbers import random_numbers
from charlstm.text.separators import BLOCK, END_MARKS, Positions, end_text, meant_separator, occurrences
from charlstm.text.visible import visible
from charlstm.text.vocabulary import Vocabulary

Direction = Literal["forward", "backward", "bidirectional"]


@dataclass(frozen=True, eq=False)
class Documents:
    """D documents: document d is ``ids[starts[d]:ends[d]]``, at least one character, followed by the end mark.

    ``ids`` may be a memory map and is not copied. The order of the documents is that of ``starts``, not that of the
    text. The end mark (one id or more) is the same for all documents, whatever follows them in the text.
    """

    ids: npt.NDArray[np.integer]
    starts: Positions
    ends: Positions
    end_mark: Positions
    scored: Positions | None = None
    """Position in the text of the first character of each document that counts in the loss; the end mark then counts
    only with ``scores_end``. None: all characters and the end mark count."""
    scored_ends: Positions | None = None
    """Position after the last character that counts, for blocks of a running text; None: the end of the document."""
    scores_end: bool = False
    """Whether the end mark counts even if ``scored`` is given."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def is_running_text(self) -> bool:
        """Whether these are blocks of one running text, which have no end mark."""
        return len(self.end_mark) == 0

    @property
    def scored_bounds(self) -> tuple[Positions, Positions]:
        """The positions of the first character of each document that counts, and after the last one."""
        first = self.starts if self.scored is None else self.scored
        return first, self.ends if self.scored_ends is None else self.scored_ends

    @property
    def characters(self) -> int:
        """Number of characters, with the end marks, that count in the loss of a forward model."""
        first, last = self.scored_bounds
        marks = len(self.end_mark) * (self.scored is None or self.scores_end)
        return int((last - first + marks).sum())

    def select(self, which: slice | Positions) -> Documents:
        """The documents selected by an index, in its order."""
        parts = {name: getattr(self, name) for name in ("starts", "ends", "scored", "scored_ends")}
        return replace(self, **{name: part[which] for name, part in parts.items() if part is not None})

    def contains_each(self, texts: Sequence[Sequence[int]]) -> list[bool]:
        """For each text (ids, without the end mark), whether it is one of the documents."""
        keys = [np.array(text, self.ids.dtype).tobytes() for text in texts]
        lengths, present = self.ends - self.starts, set[bytes]()
        for length in {len(text) for text in texts} - {0}:
            starts = self.starts[lengths == length]
            rows = max(1, BLOCK // length)
            for block in (starts[first : first + rows] for first in range(0, len(starts), rows)):
                content = np.ascontiguousarray(self.ids[block[:, None] + np.arange(length)])
                present |= set(content.view(f"V{length * content.itemsize}").ravel().tolist()) & set(keys)
        return [key in present for key in keys]


def first_characters(text: npt.NDArray[np.integer] | Documents, length: int) -> npt.NDArray[np.integer]:
    """The first ``length`` characters of a text, or of the first document."""
    if isinstance(text, Documents):
        text = text.ids[text.starts[0] : text.ends[0]]
    return text[:length]


def split_documents(
    ids: npt.NDArray[np.integer],
    vocabulary: Vocabulary,
    separator: str,
    score_after: str | None = None,
    score_end: bool = False,
) -> Documents:
    """Split a text [N] into its documents, in the order of the text.

    ``newline``: lines, which may end in LF or CR LF. ``blank_line``: paragraphs, consecutive lines without an empty
    line. Any other separator: the text between its occurrences. Empty documents are dropped, and the last document may
    lack its end mark.

    With ``score_after``, only the characters after its first occurrence in each document count in the loss, and with
    ``score_end`` the end mark.

    Raises:
        UserError: the vocabulary lacks a character of the separator, or a document has nothing after ``score_after``.
    """
    try:
        end_mark = vocabulary.encode(end_text(separator))
    except UserError:
        name = separator if separator in END_MARKS else repr(separator)
        meant = f"; did you mean {meant_separator(separator)}?" if meant_separator(separator) else ""
        note = f" ({', '.join(END_MARKS)} have a special meaning{meant})" if separator not in END_MARKS else ""
        if separator in END_MARKS and "\r" in vocabulary.symbols:
            note = ": its lines end in CR. Convert the line endings: tr '\\r' '\\n' < FILE > NEW"
        raise UserError(f"corpus.documents: {name}: there is no such separator in the text{note}") from None
    if separator not in ("newline", "blank_line"):
        ends = occurrences(ids, end_mark)
        starts = np.concatenate([[0], ends + len(end_mark)])
        ends = np.append(ends, len(ids) - _partial_match(ids, end_mark))
    else:
        feeds = occurrences(ids, end_mark[:1])
        starts, ends = np.concatenate([[0], feeds + 1]), np.append(feeds, len(ids))
        (carriage_return,) = vocabulary.ids_of_codes(np.array([13], np.uint32))
        if carriage_return >= 0 and len(ids):
            ends -= (ends > starts) & (np.take(ids, np.maximum(ends, 1) - 1) == carriage_return)
        if separator == "blank_line":
            nonempty = np.concatenate([[False], ends > starts, [False]])
            first, last = nonempty[1:-1] & ~nonempty[:-2], nonempty[1:-1] & ~nonempty[2:]
            starts, ends = starts[first], ends[last]
    release(ids)
    nonempty = ends > starts
    starts, ends = starts[nonempty], ends[nonempty]
    scored = None if score_after is None else _scored(ids, vocabulary, starts, ends, score_after)
    return Documents(ids, starts, ends, end_mark, scored, scores_end=score_end)


def split_documents_of_files(
    ids: npt.NDArray[np.integer],
    file_ends: Sequence[int],
    vocabulary: Vocabulary,
    separator: str,
    score_after: str | None = None,
    score_end: bool = False,
) -> Documents:
    """Split the files of a text [N], which end at ``file_ends``, each by itself: no document is of two files.

    Raises as :func:`split_documents` does.
    """
    starts = [0, *file_ends[:-1]]
    files = [
        split_documents(ids[start:end], vocabulary, separator, score_after, score_end)
        for start, end in zip(starts, file_ends, strict=True)
    ]
    names = ["starts", "ends"] if score_after is None else ["starts", "ends", "scored"]
    moved: dict[str, Any] = {
        name: np.concatenate([getattr(file, name) + start for file, start in zip(files, starts, strict=True)])
        for name in names
    }
    return replace(files[0], ids=ids, **moved)


def without_repeated(documents: Documents) -> Documents:
    """The documents without those that are equal to an earlier one."""
    digests = np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(documents.ids[start:end].tobytes(), digest_size=8).digest(), "little")
            for start, end in zip(documents.starts, documents.ends, strict=True)
        ),
        np.uint64,
        len(documents),
    )
    release(documents.ids)
    return documents.select(np.sort(np.unique(digests, return_index=True)[1]))


def _scored(
    ids: npt.NDArray[np.integer], vocabulary: Vocabulary, starts: Positions, ends: Positions, mark: str
) -> Positions:
    """The position after the first occurrence of the mark in each document."""
    try:
        pattern = vocabulary.encode(mark)
    except UserError:
        raise UserError(f"corpus.score_after: {mark!r}: there is no such text in the corpus") from None
    after = occurrences(ids, pattern) + len(pattern)
    release(ids)
    number = np.searchsorted(after, starts + len(pattern))
    scored: Positions = np.append(after, len(ids))[number]
    if (unscored := np.flatnonzero(scored >= ends)).size:
        first = int(unscored[0])
        text = visible(vocabulary.decode(ids[starts[first] : min(ends[first], starts[first] + 40)]))
        raise UserError(
            f"corpus.score_after: {mark!r}: nothing follows it in {unscored.size:,} of {len(starts):,} documents; the "
            f"first is number {first + 1:,}, {text!r}"
        )
    return scored


def _partial_match(ids: npt.NDArray[np.integer], pattern: Positions) -> int:
    """Length of the longest proper prefix of the pattern that the text ends with."""
    sizes = range(min(len(pattern) - 1, len(ids)), 0, -1)
    return next((size for size in sizes if (ids[-size:] == pattern[:size]).all()), 0)


def permutation(count: int, *seeds: int) -> Positions:
    """The numbers below ``count`` in a random order that depends only on the seeds, not on libraries or the machine."""
    return np.argsort(random_numbers(count, *seeds), kind="stable")


class Sequences:
    """The documents as sequences of characters in reading direction.

    forward: the characters, then the end mark. backward: the characters from right to left, then the end mark from
    right to left. bidirectional: the characters without the end mark, which both sides would make trivial to predict.
    """

    def __init__(self, documents: Documents, vocabulary_size: int, direction: Direction) -> None:
        self.documents, self.vocabulary_size, self._reverse = documents, vocabulary_size, direction == "backward"
        mark = documents.end_mark[:: -1 if self._reverse else 1]
        self._mark = mark[:0] if direction == "bidirectional" else mark
        self._mark_and_none = np.append(self._mark, vocabulary_size)
        self.lengths: Positions = documents.ends - documents.starts + len(self._mark)
        """Number of characters of each document, with the end mark."""
        self.counts, self.first = self.lengths, np.zeros_like(self.lengths)
        """Number of characters of each document that count in the loss, and the offset of the first of them."""
        if documents.scored is not None:
            first, last = documents.scored_bounds
            # Backward, the end mark is behind the beginning of the document, which does not count.
            ends = len(self._mark) if documents.scores_end and not self._reverse else 0
            self.counts = last - first + ends
            self.first = documents.ends - last if self._reverse else first - documents.starts
        self.characters = int(self.counts.sum())
        """Total number of characters that count."""
        self.offsets: Positions = np.cumsum(self.counts) - self.counts
        """Offset of each document in the concatenation of the characters that count."""

    def counted(self, which: Positions, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """Whether the characters at the offsets ``begin`` to ``end`` of the documents ``which`` [B] count in the loss,
        [end - begin, B]."""
        first = self.first[which]
        after = np.where(which < 0, first, first + self.counts[which])
        offsets = np.arange(begin, end)[:, None]
        counted: npt.NDArray[np.bool_] = (offsets >= first) & (offsets < after)
        return counted

    def at(self, positions: Positions) -> Positions:
        """The ids at positions [K] of the concatenation of the characters that count, from 0."""
        which = np.searchsorted(self.offsets, positions, side="right") - 1
        offsets = self.first[which] + positions - self.offsets[which]
        starts, ends = self.documents.starts[which], self.documents.ends[which]
        places = ends - 1 - offsets if self._reverse else starts + offsets
        ids = np.take(self.documents.ids, places, mode="clip").astype(np.int64)
        after = np.clip(offsets - (ends - starts), -1, len(self._mark) - 1)
        return np.where(after < 0, ids, self._mark_and_none[after])

    def window(self, which: Positions, begin: int, end: int) -> Positions:
        """The ids at the offsets ``begin`` to ``end`` of the documents ``which`` [B], [end - begin, B]; V before and
        after a document, and in the rows where ``which`` is -1."""
        offsets = np.arange(begin, end)[:, None]
        starts, ends = self.documents.starts[which], self.documents.ends[which]
        content = np.where(which < 0, 0, ends - starts)
        positions = ends - 1 - offsets if self._reverse else starts + offsets
        ids = np.take(self.documents.ids, positions, mode="clip").astype(np.int64)
        outside = (offsets < 0) | (offsets >= content)
        after = np.where((offsets < 0) | (which < 0), len(self._mark), np.clip(offsets - content, 0, len(self._mark)))
        return np.where(outside, self._mark_and_none[after], ids)
