"""A convolution over the latest characters, as the C++ decoder reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.executors.cpp.memory import Words, checked, pack, pad_gates, padded_units, words
from charlstm.model.front_end import Convolved


class Windows:
    """The windows of B texts: ``ids`` [B, W], and ``structure``, which window.h reads."""

    def __init__(self, cell: Cell, convolved: Convolved, batch_size: int, dtype: torch.dtype) -> None:
        size, embedding = convolved.vectors.shape
        outputs, depth = convolved.kernel.shape
        width, deep = padded_units(outputs), padded_units(depth)
        self._none = size - 1
        self.ids = torch.full((batch_size, convolved.length), self._none)
        highway = convolved.highway
        self._kept = (
            convolved.vectors.to(dtype),
            pack(cell, convolved.kernel, 1, dtype),
            pad_gates(convolved.bias, 1),
            None if highway is None else pack(cell, highway[0], 2, dtype),
            None if highway is None else pad_gates(highway[1], 2),
            self.ids,
            torch.zeros(batch_size, deep, dtype=dtype),
            torch.zeros(batch_size, width, dtype=dtype),
            torch.zeros(batch_size, width, dtype=dtype),
        )
        self.structure: Words = words(convolved.length, embedding, deep, width, *self._kept)

    @property
    def state(self) -> Tensor:
        """The last W - 1 characters as a part of a state, [W - 1, B, 1]: V - id."""
        return (self._none - self.ids[:, 1:]).t()[..., None].to(torch.float32)

    @state.setter
    def state(self, part: Tensor) -> None:
        self.ids[:, 1:] = checked(self._none - part[..., 0].t().to(torch.int64), self._none)
