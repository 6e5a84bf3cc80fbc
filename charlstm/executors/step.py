"""Runs single steps without gradients on static buffers, for sampling, so that a CUDA graph can capture them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.schedule import separate_gates
from charlstm.compiler.torch_printer import forward_code
from charlstm.executors.base import State, Weights, input_side
from charlstm.executors.buffers import RecurrentMatmuls, gate_views, joined_bias, names_with_prefix, parameter_views


class Step:
    """One layer of a cell at a fixed batch size, in the weights' dtype, with matmuls in ``dtype``.

    The caller writes the input side, including :meth:`bias`, to ``values`` [B, GH]; a call runs the cell's equations,
    advances the state, overwrites ``values`` and returns h [B, H], which is valid until the next call.
    """

    def __init__(self, cell: Cell, weights: Weights, batch_size: int, dtype: torch.dtype) -> None:
        code = forward_code(cell)
        like, H = weights.weight_hh, weights.hidden_size

        def empty(columns: int) -> Tensor:
            return like.new_empty(batch_size, columns)

        self._cell, self._weights, self._run = cell, weights, code.function
        self.values = empty(len(cell.gates) * H)
        self._old, self._new = ([like.new_zeros(batch_size, H) for _ in cell.state] for _ in range(2))
        matmuls = RecurrentMatmuls(cell, dtype, weights.weight_hh, weights.bias_hh)
        separate = empty(H * len(separate_gates(cell)))
        self._buffers: dict[str, Any] = {
            **{f"s_{s}": pair for s, *pair in zip(cell.state, self._old, self._new, strict=True)},
            **{name: [empty(H)] for name in names_with_prefix(code, "v_")},
            **{name: empty(H) for name in names_with_prefix(code, "w_")},
            **gate_views(self.values[None], cell.gates, names_with_prefix(code, "a_")),
            **gate_views(separate[None], separate_gates(cell), names_with_prefix(code, "q_")),
            **parameter_views(cell, [weights.parameters[name] for name in cell.parameters], batch_size),
            "accumulate": matmuls.accumulate,
            "matmul": matmuls.matmul,
        }

    @property
    def state(self) -> State:
        """The state, each part [B, H]; assign to it to continue from another one."""
        return tuple(part.clone() for part in self._old)

    @state.setter
    def state(self, state: State) -> None:
        for old, part in zip(self._old, state, strict=True):
            old.copy_(part)

    def bias(self) -> Tensor | None:
        """The bias to add to ``W x``: [GH]."""
        return joined_bias(self._cell, self._weights.bias_ih, self._weights.bias_hh)

    def table(self, weight_ih: Tensor) -> Tensor:
        """The input side of every one-hot vector and, last, of the zero vector: [I + 1, GH]."""
        return input_side(torch.arange(weight_ih.shape[1] + 1, device=weight_ih.device), weight_ih, self.bias())

    def __call__(self) -> Tensor:
        self._run(1, self._buffers)
        torch._foreach_copy_(self._old, self._new)
        return self._old[0]
