"""Buffers, recurrent matmuls and their gradients, for the generated loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.loops import Buffer, RecurrentMatmul
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


def allocate(
    buffers: Iterable[Buffer],
    like: Tensor,
    dtype: torch.dtype,
    steps: int,
    batch: int,
    hidden_size: int,
    training: bool,
) -> dict[str, Tensor]:
    """Allocate buffers of a loop, those in the compute dtype in ``dtype`` and others in the dtype of ``like``."""
    return {
        b.name: like.new_empty(
            b.shape(steps, batch, hidden_size, training), dtype=dtype if b.compute_dtype else like.dtype
        )
        for b in buffers
    }


def write_state(cell: Cell, buffers: Mapping[str, Tensor], step: int, state: Iterable[Tensor]) -> None:
    """Write the state before a step, each part [B, H], to the buffers of a forward loop."""
    for s, part in zip(cell.state, state, strict=True):
        for name in (f"s_{s}", f"l_{s}"):
            if name in buffers:
                buffers[name][step] = part


def read_state(cell: Cell, buffers: Mapping[str, Tensor], step: int) -> list[Tensor]:
    """The state before a step, each part [B, H], in the buffers of a forward loop."""
    stacks = (buffers[f"s_{s}"] for s in cell.state)
    return [stack[step % len(stack)] for stack in stacks]


def gradients_of(matmul: RecurrentMatmul, buffers: Mapping[str, Tensor]) -> Tensor:
    """The gradients of the results of a recurrent matmul in all steps, [TB, nH]."""
    gradients, letters = buffers[matmul.gradient.name].flatten(0, 1), matmul.gradient.letters
    return gradients[:, gate_slice(letters, matmul.run, gradients.shape[1] // len(letters))]


def weight_gradient(matmul: RecurrentMatmul, buffers: Mapping[str, Tensor]) -> Tensor:
    """The gradient of the weight of a recurrent matmul, [nH, H]."""
    gradients = gradients_of(matmul, buffers)
    return gradients.t() @ buffers[matmul.place.buffer.name].flatten(0, 1)[: len(gradients)]


def bias_rows(
    cell: Cell, matmul: RecurrentMatmul, buffers: Mapping[str, Tensor], d_bias: Tensor, dtype: torch.dtype
) -> Tensor:
    """The gradient of the recurrent bias of a matmul's gates [nH]: that of the input bias [GH] if the gates use only
    the sum of both sides, else a sum in ``dtype``."""
    if matmul.gradient.name == "d":
        return d_bias[gate_slice(cell.gates, matmul.run, len(d_bias) // len(cell.gates))]
    return gradients_of(matmul, buffers).sum(0, dtype=dtype)


def gather_rows(
    cell: Cell, matmuls: Sequence[RecurrentMatmul], like: Tensor, rows: Callable[[RecurrentMatmul], Tensor]
) -> Tensor:
    """A gradient like U [GH, H] or its bias [GH] from the ``rows`` of each recurrent matmul; the others are zero."""
    complete = sum(len(m.run) for m in matmuls) == len(cell.gates)
    out = torch.empty_like(like) if complete else torch.zeros_like(like)
    for m in matmuls:
        out[gate_slice(cell.gates, m.run, len(like) // len(cell.gates))] = rows(m)
    return out


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


def parameter_views(cell: Cell, parameters: Iterable[Tensor], batch: int) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """The per-unit parameters as ``p_NAME_k``, expanded over the batch: [B, H]; those of each step, a tuple of them."""
    return {
        f"p_{name}_{k}": part.unbind(0) if name in cell.per_step else part.expand(batch, -1)
        for (name, letters), parameter in zip(cell.parameters.items(), parameters, strict=True)
        for k, part in zip(letters, parameter.chunk(len(letters), -1), strict=True)
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
