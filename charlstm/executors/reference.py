"""Runs the equations step by step with plain autograd: the reference for all other executors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import Cell
from charlstm.cells.values import ByLetter
from charlstm.executors.base import State, Weights, eager_saved_bytes, input_side


class _Entries(ByLetter):
    """``x.g``: the block of gate g, [..., H]."""

    def __init__(self, letters: str, stacked: Tensor) -> None:
        self._parts = dict(zip(letters, stacked.chunk(len(letters), -1), strict=True))

    def __getitem__(self, key: str) -> Tensor:
        return self._parts[key]


class _RecurrentSide(ByLetter):
    """``r.g``: U_g h + b'_g; ``r.of(v).g``: the same with v for h."""

    def __init__(self, cell: Cell, weights: Weights, operand: Tensor) -> None:
        self._cell, self._weights, self._operand = cell, weights, operand

    def __getitem__(self, key: str) -> Tensor:
        H = self._weights.hidden_size
        rows = slice(self._cell.gates.index(key) * H, (self._cell.gates.index(key) + 1) * H)
        bias = None if self._weights.bias_hh is None else self._weights.bias_hh[rows]
        return F.linear(self._operand, self._weights.weight_hh[rows], bias)

    def of(self, operand: Tensor) -> _RecurrentSide:
        return _RecurrentSide(self._cell, self._weights, operand)


class Reference:
    """Runs the equations as they are written; every other executor is tested against it."""

    name = "reference"
    devices = None
    automatic = False
    stacks = None

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:  # noqa: ARG002
        return None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        batch = x.shape[1]
        units = {
            name: _Entries(letters, weights.parameters[name].expand(batch, -1))
            for name, letters in cell.parameters.items()
            if name not in cell.per_step
        }
        outputs = []
        for t, x_t in enumerate(input_side(x, weights.weight_ih, weights.bias_ih)):
            inputs = [
                _stop_gradient(part) if s in cell.stop_gradient else part
                for s, part in zip(cell.state, state, strict=True)
            ]
            recurrent = _RecurrentSide(cell, weights, inputs[0])
            parameters = [
                units[name] if name in units else _Entries(letters, weights.parameters[name][t])
                for name, letters in cell.parameters.items()
            ]
            state = cell.step(_Entries(cell.gates, x_t), recurrent, *inputs, *parameters)
            outputs.append(state[0])
        y = torch.stack(outputs) if outputs else state[0].new_empty(0, *state[0].shape)
        return y, state

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:  # noqa: ARG002
        return eager_saved_bytes(cell, hidden_size)


def _stop_gradient(part: Tensor) -> Tensor:
    """As ``part.detach()``, but the gradient of ``part`` is zeros, as in every other executor, instead of None."""
    copy = part.clone()
    if copy.requires_grad:
        copy.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
    return copy
