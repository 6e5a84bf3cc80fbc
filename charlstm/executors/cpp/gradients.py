"""Gradients of weights and biases, one matmul or sum each, from the gate gradients of all steps."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.loops import forward_loop
from charlstm.executors.base import is_ids
from charlstm.executors.buffers import gate_slice, gather_rows, weight_gradient
from charlstm.executors.cpp.memory import check_ids, padded_size, sum_by_id, unpad_gates


def recurrent_gradient(cell: Cell, weight_hh: Tensor, buffers: Mapping[str, Tensor]) -> Tensor:
    """Gradient of U [GH, H] from the buffers of both passes."""
    H = weight_hh.shape[1]
    return gather_rows(
        cell,
        forward_loop(cell).matmuls,
        weight_hh,
        lambda m: unpad_gates(weight_gradient(m, buffers), len(m.run), H)[:, :H],
    )


def recurrent_bias_gradient(cell: Cell, e: Tensor, d_bias: Tensor) -> Tensor:
    """Gradient of the recurrent bias [GH] from those of the separate recurrent sides and of the input bias [GH]."""
    H = len(d_bias) // len(cell.gates)
    sums = {"d": d_bias}
    if e.shape[1]:
        sums["e"] = unpad_gates(sum_by_id(cell, e, None, 1)[0], e.shape[1] // padded_size(H), H)
    return gather_rows(
        cell,
        forward_loop(cell).matmuls,
        d_bias,
        lambda m: sums[m.gradient.name][gate_slice(m.gradient.letters, m.run, H)],
    )


def input_gradients(
    cell: Cell, x: Tensor, d: Tensor, weight_ih: Tensor, weight: bool, bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of W [GH, I] and of its bias [GH], if ``weight`` and ``bias``, from the input sides' d [TB, G Hp]."""
    gates, size = len(cell.gates), weight_ih.shape[1]
    H = weight_ih.shape[0] // gates
    if weight and is_ids(x):
        table = sum_by_id(cell, d, check_ids(x, size), size + 1)
        return unpad_gates(table[:size].t(), gates, H), unpad_gates(table.sum(0), gates, H)
    d_weight = unpad_gates(d.t() @ x.reshape(-1, size).to(d.dtype), gates, H).to(weight_ih.dtype) if weight else None
    return d_weight, unpad_gates(sum_by_id(cell, d, None, 1)[0], gates, H) if bias else None
