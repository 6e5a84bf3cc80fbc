"""Zoneout (Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations").

With a new state h', c' of the cell at each step,

    h_t = d_h * h_(t-1) + (1 - d_h) * h'        c_t = d_c * c_(t-1) + (1 - d_c) * c'

In training, d is a mask, drawn for each step, text and unit, and 1 with the probability of zoneout. In evaluation it is
that probability, a frozen per-unit parameter: so generated kernels and exports contain it like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell, derived_cell
from charlstm.executors import Weights
from charlstm.model.dropout import bernoulli

NAME = "zoneout"


class Zoneout:
    """Zoneout of the parts of a cell's state, by their letters: ``rates`` are its probabilities, all above 0.

    ``cell`` is the cell with the expected values, ``training_cell`` that with masks; both have the same weights.
    """

    def __init__(self, cell: Cell, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        self.cell = _with_rates(cell, "".join(rates), *rates.values())
        self.training_cell = _with_masks(self.cell)

    def with_masks(self, weights: Weights, steps: int, batch: int) -> Weights:
        """The weights of a layer for ``training_cell``."""
        sizes = weights.weight_hh, steps, batch, weights.hidden_size
        masks = torch.cat([bernoulli(*sizes, rate) for rate in self._rates.values()], -1)
        return replace(weights, parameters={**weights.parameters, NAME: masks})


@derived_cell
def _with_rates(cell: Cell, letters: str, *rates: float) -> Cell:
    def equations(x: Any, r: Any, *arguments: Any) -> tuple[Any, ...]:
        *arguments_of_cell, d = arguments
        new = cell.step(x, r, *arguments_of_cell)
        return tuple(
            d[s] * old + (1 - d[s]) * value if s in letters else value
            for s, old, value in zip(cell.state, arguments_of_cell, new, strict=False)
        )

    def initialize(parameter: Tensor) -> None:
        for part, rate in zip(parameter.chunk(len(rates)), rates, strict=True):
            part.fill_(rate)

    return replace(
        cell,
        name=f"{cell.name}_with_zoneout_{letters}",
        equations=equations,
        parameters={**cell.parameters, NAME: letters},
        initializers={**cell.initializers, NAME: initialize},
        frozen=cell.frozen | {NAME},
        torch=None,
    )


@derived_cell
def _with_masks(cell: Cell) -> Cell:
    return replace(cell, name=f"{cell.name}_masks", per_step=cell.per_step | {NAME})
