"""How a text is divided into streams that are coded in parallel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charlstm.compression.fixed_model import Ids

BLOCK = 1 << 21
"""Symbols whose intervals are held in memory, since rANS encodes backwards."""


class Layout:
    """A text of N symbols in S contiguous pieces, whose lengths differ by at most one, the longer ones first."""

    def __init__(self, symbols: int, streams: int) -> None:
        self.symbols, self.streams = symbols, streams
        short, longer = divmod(symbols, streams)
        self.steps = short + (longer > 0)
        self.lengths = np.full(streams, short, np.int64)
        self.lengths[:longer] += 1
        self.counts = np.full(self.steps, streams, np.int64)
        if longer:
            self.counts[-1] = longer
        """In each step, the number of pieces that have a symbol, the first ones."""

    def blocks(self) -> Iterator[range]:
        """The steps that are encoded together."""
        rows = max(1, BLOCK // self.streams)
        return (range(begin, min(begin + rows, self.steps)) for begin in range(0, self.steps, rows))

    def split(self, ids: Ids, padding: int) -> Ids:
        """[T, S], with ``padding`` after the end of shorter pieces."""
        table = np.full((self.steps, self.streams), padding)
        table.T[self._inside()] = ids
        return table

    def join(self, table: npt.NDArray[np.integer]) -> Ids:
        """The inverse of :meth:`split`."""
        ids: Ids = table.T[self._inside()].astype(np.int64)
        return ids

    def _inside(self) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = np.arange(self.steps) < self.lengths[:, None]
        return inside

    def done(self, t: int) -> int:
        """Number of symbols up to step t."""
        return min((t + 1) * self.streams, self.symbols)
