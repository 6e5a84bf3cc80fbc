"""Interleaved rANS: an entropy coder of many streams at once, in integers.

Asymmetric numeral systems (Duda 2013), in the range form and interleaved (Giesen 2014): each of B streams has a state
in [2^31, 2^63) and writes 32-bit words into one common sequence. A symbol with the interval [start, start + size) of
[0, 2^28) costs 28 - log2(size) bits. The encoder works backwards, from the last symbol to the first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PROBABILITY_BITS = 28
TOTAL = 1 << PROBABILITY_BITS
"""The sum of the sizes of all intervals."""
_LOWEST = np.uint64(1 << 31)
_WORD = np.uint64(32)
_SHIFT = np.uint64(PROBABILITY_BITS)

Unsigned = npt.NDArray[np.uint64]


class DamagedStreamError(Exception):
    """The words are not those of an encoder."""


def encode(starts: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> bytes:
    """Encode T steps of B streams: ``starts`` and ``sizes`` [T, B]; in step t only the first ``counts[t]`` streams have
    a symbol."""
    states = np.full(starts.shape[1], _LOWEST)
    written: list[Unsigned] = []
    for t in range(len(starts) - 1, -1, -1):
        x, size = states[: counts[t]], sizes[t, : counts[t]].astype(np.uint64)
        full = x >= size << np.uint64(63 - PROBABILITY_BITS)
        if full.any():
            written.append((x[full] & np.uint64(0xFFFFFFFF))[::-1])
            x[full] >>= _WORD
        x[:] = ((x // size) << _SHIFT) + x % size + starts[t, : counts[t]].astype(np.uint64)
    words = np.concatenate([*written, np.empty(0, np.uint64)])[::-1].astype("<u4")
    return states.astype("<u8").tobytes() + words.tobytes()


class Decoder:
    """Decodes what :func:`encode` returned, for B streams."""

    def __init__(self, content: bytes | memoryview, streams: int) -> None:
        if len(content) < 8 * streams or len(content) % 4:
            raise DamagedStreamError
        self._states = np.frombuffer(content[: 8 * streams], "<u8").astype(np.uint64)
        self._words = np.frombuffer(content[8 * streams :], "<u4").astype(np.uint64)
        self._position = 0
        if (self._states < _LOWEST).any() or (self._states >> np.uint64(63)).any():
            raise DamagedStreamError

    def points(self) -> npt.NDArray[np.int64]:
        """A point in the interval of each stream's next symbol, [B]."""
        points: npt.NDArray[np.int64] = (self._states & np.uint64(TOTAL - 1)).astype(np.int64)
        return points

    def advance(self, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
        """Go on after a symbol of each of the first streams, given their intervals."""
        x, point = self._states[: len(starts)], self.points()[: len(starts)]
        x[:] = sizes.astype(np.uint64) * (x >> _SHIFT) + (point - starts).astype(np.uint64)
        needed = np.flatnonzero(x < _LOWEST)
        words = self._words[self._position : self._position + len(needed)]
        if len(words) < len(needed):
            raise DamagedStreamError
        self._position += len(needed)
        x[needed] = (x[needed] << _WORD) | words

    def check_end(self) -> None:
        """Raise DamagedStreamError unless all words are decoded, and the states are those of a new encoder."""
        if self._position < len(self._words) or (self._states != _LOWEST).any():
            raise DamagedStreamError
