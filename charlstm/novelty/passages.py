"""Common passages of two texts, around the positions of common n-grams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.novelty.hashes import Ids, Positions
from charlstm.novelty.training_text import DocumentIds

Matches = npt.NDArray[np.int64]
"""Rows of start, length and source: see :class:`Passage`."""
CHUNK, MAX_CELLS = 16, 1 << 20


@dataclass(frozen=True)
class Passage:
    """``length`` characters from ``start`` in a text, which stand at ``source`` in the training text."""

    start: int
    length: int
    source: int


def maximal_matches(
    ids: Ids | DocumentIds, text: Ids, sources: Positions, starts: Positions, shortest: int
) -> Iterator[Matches]:
    """The common passages of at least ``shortest`` characters that contain one of the pairs of positions, extended to
    both sides as far as the ids are equal."""
    diagonals = sources - starts
    order = np.lexsort((starts, diagonals))
    diagonals, starts = diagonals[order], starts[order]
    while len(starts):  # the first pair of each diagonal, then those that its match does not contain
        is_first = np.concatenate([[True], diagonals[1:] != diagonals[:-1]])
        d, q = diagonals[is_first], starts[is_first]
        right, left = _equal_ids(ids, q + d, text, q, 1), _equal_ids(ids, q + d - 1, text, q - 1, -1)
        is_long = (right > 0) & (left + right >= shortest)
        yield np.stack([q - left, left + right, q + d - left], 1)[is_long]
        ends = np.maximum(q + right, q + 1)
        remaining = starts >= ends[np.cumsum(is_first) - 1]
        diagonals, starts = diagonals[remaining], starts[remaining]


def _equal_ids(a: Ids | DocumentIds, at: Positions, b: Ids, bt: Positions, step: int) -> Positions:
    """The number of equal ids from the positions ``at`` of a and ``bt`` of b on, in steps of 1 or -1."""
    lengths = np.zeros(len(at), np.int64)
    active, chunk = np.arange(len(at)), CHUNK
    while len(active):
        offsets = lengths[active, None] + np.arange(chunk)
        i, j = at[active, None] + step * offsets, bt[active, None] + step * offsets
        inside = (i >= 0) & (i < len(a)) & (j >= 0) & (j < len(b))
        same = inside & (a[np.where(inside, i, 0)] == b[np.where(inside, j, 0)])
        equal = np.where(same.all(1), chunk, same.argmin(1))
        lengths[active] += equal
        active = active[equal == chunk]
        chunk = min(2 * chunk, max(CHUNK, MAX_CELLS // max(1, len(active))))
    return lengths


def first_sources(matches: Matches) -> Matches:
    """Of the matches with the same start and length, the one with the first source."""
    ordered = matches[np.lexsort((matches[:, 2], matches[:, 1], matches[:, 0]))]
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = (ordered[1:, :2] != ordered[:-1, :2]).any(1)
    return ordered[is_new]


def disjoint(matches: Matches, length: int, shortest: int) -> list[Passage]:
    """The matches in a text of this length, longest first, without what a longer one contains; what remains of a match
    may be shorter."""
    covered = np.zeros(length, bool)
    passages: list[Passage] = []
    order = np.lexsort((matches[:, 2], matches[:, 0], -matches[:, 1]))
    for start, size, source in matches[order].tolist():
        if covered[start : start + size].all():
            continue
        free = np.concatenate([[False], ~covered[start : start + size], [False]])
        begins, ends = np.flatnonzero(~free[:-1] & free[1:]), np.flatnonzero(free[:-1] & ~free[1:])
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            if end - begin >= shortest:
                passages.append(Passage(start + begin, end - begin, source + begin))
                covered[start + begin : start + end] = True
    return sorted(passages, key=lambda p: (-p.length, p.start))
