"""The intervals of the symbols that may come next, as an entropy coder needs them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charlstm.compression import rans
from charlstm.compression.fixed_model import FixedModel, Ids, Reading
from charlstm.compression.fixed_point import EXP_BITS
from charlstm.compression.readout import ERROR_BITS
from charlstm.model import LanguageModel

FACTOR_BITS = 24
LEAST_ESCAPE = 1 << 12


class Predictions:
    """The intervals of all symbols of S texts, step by step: those of the vocabulary, then V, the escape.

    Every interval has at least one point of 2^28. The escape has a share of 2^-16 and, in each text, the fraction of
    escapes up to now. All in integers, in float64 where they are below 2^53.
    """

    def __init__(self, model: LanguageModel, reading: Reading, streams: int, rate: int) -> None:
        self._model, self._size, self._learns = FixedModel(model, streams, rate), model.vocabulary_size, rate > 0
        self._mark = np.array(reading.end_mark, np.int64)
        self._recent = np.full((streams, len(self._mark)), self._size)
        self._escapes, self._steps = np.zeros(streams, np.int64), 0
        self._rows = np.arange(streams)
        self._bounds = np.zeros((streams, self._size + 2))
        self._bounds[:, -1] = rans.TOTAL

    def _update(self) -> npt.NDArray[np.float64]:
        """The bounds of the intervals [S, V + 2]."""
        most = rans.TOTAL - self._size - LEAST_ESCAPE - (rans.TOTAL >> 8)
        escape = LEAST_ESCAPE + most * self._escapes // (self._steps + 1)
        weights = self._model.weights
        total = weights.sum(1).astype(np.int64)
        factor = ((rans.TOTAL - self._size - escape) << FACTOR_BITS) // total
        sizes = self._bounds[:, 1:-1]
        np.multiply(weights, factor[:, None] * 2.0**-FACTOR_BITS, out=sizes)
        np.floor(sizes, out=sizes)
        sizes += 1
        np.cumsum(sizes, 1, out=sizes)
        return self._bounds

    def intervals(self, symbols: Ids) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The start and the size of the interval of one symbol in each text, [S] each."""
        bounds = self._update()
        starts = bounds[self._rows, symbols]
        return starts, bounds[self._rows, symbols + 1] - starts

    def find(self, points: Ids, count: int) -> tuple[Ids, Ids, Ids]:
        """The symbols in whose intervals the points are, and their intervals, in the first ``count`` texts."""
        bounds = self._update()[:count]
        symbols = (bounds[:, 1:-1] <= points[:count, None]).sum(1)
        starts, ends = bounds[self._rows[:count], symbols], bounds[self._rows[:count], symbols + 1]
        return symbols, starts.astype(np.int64), (ends - starts).astype(np.int64)

    def read(self, symbols: Ids) -> None:
        """Go on after these symbols [S]. After the end of a document the next one begins."""
        if self._learns:
            self._learn(symbols)
        self._steps += 1
        self._escapes += symbols == self._size
        if len(self._mark):
            self._recent = np.concatenate([self._recent[:, 1:], symbols[:, None]], 1)
            ended = (self._recent == self._mark).all(1)
            if ended.any():
                self._model.restart(ended)
                self._recent[ended] = self._size
                symbols = np.where(ended, self._size, symbols)
        self._model.read(symbols)

    def _learn(self, symbols: Ids) -> None:
        """Train on these symbols, except for escapes, which are not predicted by the readout."""
        errors = -np.diff(self._bounds[:, :-1])
        known = np.flatnonzero(symbols < self._size)
        errors[known, symbols[known]] += rans.TOTAL
        errors[symbols == self._size] = 0
        self._model.learn(np.rint(errors * 2.0 ** (ERROR_BITS - rans.PROBABILITY_BITS)))


assert EXP_BITS + FACTOR_BITS < 53  # their product is exact
