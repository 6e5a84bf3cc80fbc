"""One step at a time without gradients, for sampling: everything that can be made once is made once and stays where it
is, so that steps can be recorded (:mod:`charlstm.executors.cuda_graph`)."""

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
    """One layer of a cell at a fixed batch size, in the type of its weights, with products in ``dtype``.

    ``values`` [B, GH] takes the input side, :meth:`bias` included; calling the object runs the cell's equations on it,
    moves the state on and returns h [B, H], which holds until the next call. ``values`` is overwritten.
    """

    def __init__(self, cell: Cell, weights: Weights, batch_size: int, dtype: torch.dtype) -> None:
        code = forward_code(cell)
        like, units = weights.weight_hh, weights.hidden_size

        def room(columns: int) -> Tensor:
            return like.new_empty(batch_size, columns)

        self._cell, self._weights, self._run = cell, weights, code.function
        self.values = room(len(cell.gates) * units)
        self._old, self._new = ([like.new_zeros(batch_size, units) for _ in cell.state] for _ in range(2))
        products = RecurrentMatmuls(cell, dtype, weights.weight_hh, weights.bias_hh)
        separate = room(units * len(separate_gates(cell)))
        self._buffers: dict[str, Any] = {
            **{f"s_{s}": pair for s, *pair in zip(cell.state, self._old, self._new, strict=True)},
            **{name: [room(units)] for name in names_with_prefix(code, "v_")},
            **{name: room(units) for name in names_with_prefix(code, "w_")},
            **gate_views(self.values[None], cell.gates, names_with_prefix(code, "a_")),
            **gate_views(separate[None], separate_gates(cell), names_with_prefix(code, "q_")),
            **parameter_views(cell, [weights.parameters[name] for name in cell.parameters], batch_size),
            "accumulate": products.accumulate,
            "product": products.product,
        }

    @property
    def state(self) -> State:
        """The state, each part [B, H]; set it to start from another one."""
        return tuple(part.clone() for part in self._old)

    @state.setter
    def state(self, state: State) -> None:
        for own, part in zip(self._old, state, strict=True):
            own.copy_(part)

    def bias(self) -> Tensor | None:
        """What has to be added to ``W x``, [GH]."""
        return joined_bias(self._cell, self._weights.bias_ih, self._weights.bias_hh)

    def table(self, weight_ih: Tensor) -> Tensor:
        """The input side of every one-hot vector and, last, of the zero vector: [I + 1, GH]."""
        return input_side(torch.arange(weight_ih.shape[1] + 1, device=weight_ih.device), weight_ih, self.bias())

    def __call__(self) -> Tensor:
        self._run(1, self._buffers)
        torch._foreach_copy_(self._old, self._new)
        return self._old[0]
