"""Dropout on what recurrent matmuls read of the state (Gal & Ghahramani 2016; Melis, Dyer & Blunsom 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from charlstm.cells import Cell, derived_cell
from charlstm.cells.values import ByLetter
from charlstm.executors import Weights
from charlstm.model.dropout import bernoulli

NAME = "state_dropout"


class StateDropout:
    """In training, every recurrent matmul of a cell reads d * v in place of v, with a mask d for each text that is the
    same in all steps: elements are zero with this probability, and the others scaled up. The state itself is carried
    undropped. ``training_cell`` takes the masks; it has the weights of the cell.
    """

    def __init__(self, cell: Cell, probability: float) -> None:
        self._retained = 1 - probability
        self.training_cell = _with_masks(cell)

    def with_masks(self, weights: Weights, steps: int, batch: int) -> Weights:
        """The weights of a layer for ``training_cell``."""
        size = weights.hidden_size
        mask = bernoulli(weights.weight_hh, 1, batch, size, self._retained) / self._retained
        return replace(weights, parameters={**weights.parameters, NAME: mask.expand(steps, -1, -1)})


class _MaskedSide(ByLetter):
    """A recurrent side that multiplies what its matmuls read by a mask."""

    def __init__(self, side: Any, mask: Any, operand: Any) -> None:
        self._side, self._mask, self._of_operand = side, mask, side.of(mask * operand)

    def __getitem__(self, gate: str) -> Any:
        return self._of_operand[gate]

    def of(self, operand: Tensor) -> Any:
        return self._side.of(self._mask * operand)


@derived_cell
def _with_masks(cell: Cell) -> Cell:
    def equations(x: Any, r: Any, h: Any, *arguments: Any) -> tuple[Any, ...]:
        *arguments_of_cell, d = arguments
        return cell.step(x, _MaskedSide(r, d[cell.state[0]], h), h, *arguments_of_cell)

    return replace(
        cell,
        name=f"{cell.name}_with_state_dropout",
        equations=equations,
        parameters={**cell.parameters, NAME: cell.state[0]},
        per_step=cell.per_step | {NAME},
        torch=None,
    )
