"""Buffers and recurrent matmuls for the generated loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.schedule import summed_gates
from charlstm.compiler.torch_printer import Code


class RecurrentMatmuls:
    """The recurrent matmuls of one layer in ``dtype``, with states in the weights' dtype."""

    def __init__(self, cell: Cell, dtype: torch.dtype, weight_hh: Tensor, bias_hh: Tensor | None) -> None:
        hidden_size = weight_hh.shape[1]
        weight = weight_hh.to(dtype)
        self._dtype = dtype
        self._same_dtype = dtype == weight_hh.dtype
        all_runs = {cell.gates[a:b] for a in range(len(cell.gates)) for b in range(a + 1, len(cell.gates) + 1)}
        parts = {run: gate_slice(cell.gates, run, hidden_size) for run in all_runs}
        self._weight = {run: weight[part] for run, part in parts.items()}
        self._bias = {run: bias_hh[part] for run, part in parts.items()} if bias_hh is not None else {}

    def accumulate(self, values: Tensor, operand: Tensor, run: str) -> None:
        """values += U operand."""
        weight = self._weight[run].t()
        if self._same_dtype:
            torch.addmm(values, operand, weight, out=values)
        else:
            values.add_(operand.to(self._dtype) @ weight)

    def matmul(self, out: Tensor, operand: Tensor, run: str) -> None:
        """out = U operand + b'."""
        affine(out, operand, self._weight[run], self._bias.get(run))

    def transposed(self, out: Tensor, base: Tensor | None, *terms: tuple[Tensor, str]) -> None:
        """out = base + the sum of U_run^T d_run."""
        for gradient, run in terms:
            weight = self._weight[run]
            if not self._same_dtype:
                product = gradient.to(self._dtype) @ weight
                out.copy_(product) if base is None else torch.add(base, product, out=out)
            elif base is None:
                torch.mm(gradient, weight, out=out)
            else:
                torch.addmm(base, gradient, weight, out=out)
            base = out


def affine(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """out = x W^T + b, [B, N], with the matmul in the dtype of W."""
    if x.dtype != weight.dtype:
        product = x.to(weight.dtype) @ weight.t()
        out.copy_(product) if bias is None else torch.add(product, bias, out=out)
    elif bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


def names_with_prefix(code: Code, prefix: str) -> list[str]:
    return [name for name in code.names if name.startswith(prefix)]


def gate_slice(letters: str, run: str, hidden_size: int) -> slice:
    """The columns of a run of gates among those of all ``letters``."""
    start = letters.index(run)
    return slice(start * hidden_size, (start + len(run)) * hidden_size)


def gate_views(buffer: Tensor, letters: str, names: Iterable[str]) -> dict[str, tuple[Tensor, ...]]:
    """Views of [T, B, nH]: for each name (``a_rz``) a tuple over time of [B, len(run) H]."""
    hidden_size = buffer.shape[-1] // max(len(letters), 1)
    return {name: buffer[..., gate_slice(letters, name[2:], hidden_size)].unbind(0) for name in names}


def per_step(buffers: Sequence[Tensor], steps: int) -> Sequence[Tensor]:
    """One buffer for each step; if there are fewer buffers than steps, they alternate."""
    return buffers if len(buffers) >= steps else [buffers[t % len(buffers)] for t in range(steps)]


def parameter_views(cell: Cell, parameters: Iterable[Tensor], batch: int) -> dict[str, Tensor]:
    """The per-unit parameters as ``p_NAME_k``, expanded over the batch: [B, H]."""
    return {
        f"p_{name}_{k}": part.expand(batch, -1)
        for (name, letters), parameter in zip(cell.parameters.items(), parameters, strict=True)
        for k, part in zip(letters, parameter.chunk(len(letters)), strict=True)
    }


def joined_bias(cell: Cell, bias_ih: Tensor | None, bias_hh: Tensor | None) -> Tensor | None:
    """The bias of the input side, plus that of the recurrent side for gates that use only their sum: [GH]."""
    if bias_ih is None or bias_hh is None:
        return None
    bias, hidden_size = bias_ih + bias_hh, len(bias_ih) // len(cell.gates)
    summed = summed_gates(cell)
    for k in cell.gates:
        if k not in summed:
            part = gate_slice(cell.gates, k, hidden_size)
            bias[part] = bias_ih[part]
    return bias
