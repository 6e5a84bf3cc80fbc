"""Blocks of a running text: held-out blocks, evenly spread samples, windows, and pieces that are scored in parallel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from charlstm.text.documents import Documents
from charlstm.text.splits import MAX_GAP, Spans, spread_blocks

_NO_END_MARK = np.empty(0, np.int64)


def blocks(ids: npt.NDArray[np.integer], spans: Spans, gap: int = 0) -> Documents:
    """The spans of a text [N] as documents without an end mark. The ``gap`` characters on each side of a span are
    context: they are read, but do not count."""
    scored = (spans[:, 0], spans[:, 1]) if gap else (None, None)
    return Documents(ids, spans[:, 0] - gap, spans[:, 1] + gap, _NO_END_MARK, *scored)


def sample_of_text(
    ids: npt.NDArray[np.integer], spans: Spans, size: int, length: int | None = None, gap: int = 0
) -> Documents:
    """Evenly spread blocks of the spans of a text, ``size`` characters together, or all if there are fewer. Up to
    `MAX_GAP` characters on each side of a block, within its span and the ``gap`` on each side of that, are context.

    Args:
        length: of a block, about; by default both number and length grow with the square root of ``size``.
    """
    lengths = spans[:, 1] - spans[:, 0]
    ends = np.cumsum(lengths)
    size = min(size, int(ends[-1]))
    # Blocks of the concatenated spans, cut where a span ends.
    count = math.isqrt(size // 100) if length is None else size // length
    (chosen,) = spread_blocks(int(ends[-1]), [size], max(1, count))
    edges = np.unique(np.concatenate([chosen.ravel(), ends]))
    middle = (edges[:-1] + edges[1:]) / 2
    inside = np.searchsorted(chosen[:, 0], middle, side="right") > np.searchsorted(chosen[:, 1], middle, side="right")
    begins, stops = edges[:-1][inside], edges[1:][inside]
    number = np.searchsorted(ends, begins, side="right")
    shift = spans[number, 1] - ends[number]
    scored, scored_ends = begins + shift, stops + shift
    starts = np.maximum(spans[number, 0] - gap, scored - MAX_GAP)
    return Documents(
        ids,
        starts,
        np.minimum(spans[number, 1] + gap, scored_ends + MAX_GAP),
        _NO_END_MARK,
        scored=scored,
        scored_ends=scored_ends,
    )


def as_documents(text: npt.NDArray[np.integer] | Documents) -> Documents:
    """A running text [N] as one block; documents as they are."""
    if isinstance(text, Documents):
        return text
    return Documents(text, np.zeros(1, np.int64), np.array([len(text)]), _NO_END_MARK)


def windows(text: npt.NDArray[np.integer] | Documents, size: int, is_reversed: bool = False) -> Documents:
    """A running text [N], or blocks of one, in windows of ``size`` characters, the last of a block shorter. Of what a
    network reads before a window, one character is context: it reads each window from a zero state.

    ``is_reversed``: for a model that reads from right to left.
    """
    text = as_documents(text)
    scored, scored_ends = text.scored_bounds
    counts = -(-(scored_ends - scored) // size)
    number = np.repeat(np.arange(len(text)), counts)
    begins = scored[number] + (np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)) * size
    ends = np.minimum(begins + size, scored_ends[number])
    starts = begins if is_reversed else np.maximum(begins - 1, text.starts[number])
    stops = np.minimum(ends + 1, text.ends[number]) if is_reversed else ends
    return replace(text, starts=starts, ends=stops, scored=begins, scored_ends=ends)


def sample_of_documents(documents: Documents, size: int) -> Documents:
    """Evenly spread documents with at most ``size`` characters together, but at least one document."""
    count, characters = len(documents), documents.characters
    while True:
        sample = documents.select(np.arange(count) * len(documents) // count)
        if (characters := sample.characters) <= size or count == 1:
            return sample
        count = max(1, min(count - 1, count * size // characters))


def cut_blocks(text: Documents, pieces: int, context: int, is_reversed: bool) -> Documents:
    """Blocks of a running text, cut into about ``pieces`` pieces of similar length, each with up to ``context``
    characters of its block on each side as context. Blocks that are short enough are unchanged.

    ``is_reversed``: the last piece of a block comes first, for a model that reads from right to left.
    """
    scored, scored_ends = text.scored_bounds
    lengths = scored_ends - scored
    longest = max(2 * context, -(-int(lengths.sum()) // pieces))
    counts = -(-lengths // longest)
    number = np.repeat(np.arange(len(text)), counts)
    index = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    if is_reversed:
        index = counts[number] - 1 - index
    begins, ends = (scored[number] + lengths[number] * part // counts[number] for part in (index, index + 1))
    starts, stops = text.starts[number], text.ends[number]
    is_cut = counts[number] > 1
    return replace(
        text,
        starts=np.where(is_cut, np.maximum(starts, begins - context), starts),
        ends=np.where(is_cut, np.minimum(stops, ends + context), stops),
        scored=begins,
        scored_ends=ends,
    )
