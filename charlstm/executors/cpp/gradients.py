"""Gradients of weights and biases, one matmul or sum each, from the gate gradients of all steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.cpp_loops import forward_loop
from charlstm.compiler.graph import trace
from charlstm.compiler.schedule import runs, separate_gates
from charlstm.executors.base import is_ids
from charlstm.executors.buffers import gate_slice
from charlstm.executors.cpp.memory import check_ids, padded_size, sum_by_id, unpad_gates


def recurrent_gradient(cell: Cell, weight_hh: Tensor, operands: Mapping[str, Tensor], d: Tensor, e: Tensor) -> Tensor:
    """Gradient of U [GH, H] from the gate gradients d [TB, G Hp] and e [TB, n Hp].

    operands: the operands of the recurrent matmuls, [T or more, B, Hp] each.
    """
    gates, separate, H = len(cell.gates), separate_gates(cell), weight_hh.shape[1]
    padded = padded_size(H)
    covers_all_gates = sum(len(run) for run, _ in _operands(cell)) == gates
    d_weight_hh = torch.empty_like(weight_hh) if covers_all_gates else torch.zeros_like(weight_hh)
    for run, operand in _operands(cell):
        letters, gradients = (separate, e) if run[0] in separate else (cell.gates, d)
        start = letters.index(run)
        read = operands[operand].view(-1, padded)[: len(d)]
        product = gradients[:, start * padded : (start + len(run)) * padded].t() @ read
        d_weight_hh[gate_slice(cell.gates, run, H)] = unpad_gates(product, len(run), H)[:, :H]
    return d_weight_hh


def recurrent_bias_gradient(cell: Cell, e: Tensor, d_bias: Tensor) -> Tensor:
    """Gradient of the recurrent bias [GH] from those of the separate recurrent sides and of the input bias [GH]."""
    separate, H = separate_gates(cell), len(d_bias) // len(cell.gates)
    separate_sums = unpad_gates(sum_by_id(cell, e, None, 1)[0], len(separate), H) if separate else d_bias
    d_bias_hh = torch.zeros_like(d_bias)
    for run, _ in _operands(cell):
        letters, sums = (separate, separate_sums) if run[0] in separate else (cell.gates, d_bias)
        d_bias_hh[gate_slice(cell.gates, run, H)] = sums[gate_slice(letters, run, H)]
    return d_bias_hh


@cache
def _operands(cell: Cell) -> list[tuple[str, str]]:
    """For each run of neighboring gates with the same operand: the run and the name of the operand's buffer."""
    values = forward_loop(cell).values
    groups: dict[tuple[str, str], str] = {}
    for n in trace(cell).matmuls:
        operand = n.args[0]
        key = n.op, str(operand.label) if operand.op == "state" else values[operand]
        groups[key] = groups.get(key, "") + n.label
    return [(run, name) for (_, name), letters in groups.items() for run in runs(cell.gates, letters)]


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
