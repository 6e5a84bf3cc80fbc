"""The convolution over the latest characters for the C++ decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.executors.cpp.memory import Int64Array, check_ids, int64_array, pack, pad_gates, padded_size
from charlstm.model.front_end import ConvolutionWeights


class CppWindow:
    """The windows of B texts: ``ids`` [B, W], and ``structure``, the ``Window`` of window.h."""

    def __init__(self, cell: Cell, weights: ConvolutionWeights, batch_size: int, dtype: torch.dtype) -> None:
        rows, embedding = weights.vectors.shape
        outputs, depth = weights.kernel.shape
        padded_outputs, padded_depth = padded_size(outputs), padded_size(depth)
        self._no_character = rows - 1
        self.ids = torch.full((batch_size, weights.length), self._no_character)
        highway = weights.highway
        self._keep_alive = (
            weights.vectors.to(dtype),
            pack(cell, weights.kernel, 1, dtype),
            pad_gates(weights.bias, 1),
            None if highway is None else pack(cell, highway[0], 2, dtype),
            None if highway is None else pad_gates(highway[1], 2),
            self.ids,
            torch.zeros(batch_size, padded_depth, dtype=dtype),
            torch.zeros(batch_size, padded_outputs, dtype=dtype),
            torch.zeros(batch_size, padded_outputs, dtype=dtype),
        )
        self.structure: Int64Array = int64_array(
            weights.length, embedding, padded_depth, padded_outputs, *self._keep_alive
        )

    @property
    def state(self) -> Tensor:
        """The last W - 1 characters as a part of the state, [W - 1, B, 1]: V - id."""
        return (self._no_character - self.ids[:, 1:]).t()[..., None].to(torch.float32)

    @state.setter
    def state(self, encoded: Tensor) -> None:
        self.ids[:, 1:] = check_ids(self._no_character - encoded[..., 0].t().to(torch.int64), self._no_character)
