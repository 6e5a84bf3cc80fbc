"""How the parameters of a layer start: as in torch.nn, but for what a cell declares and a user asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charlstm.cells import Cell
from charlstm.cells.base import CHRONO_LENGTH, LEARNT_LEAK_LIMIT
from charlstm.executors import Weights

CHRONO = "chrono"
BIASES = ("bias_ih", "bias_hh")


@dataclass(frozen=True)
class Start:
    """The options of a start; None stands for the cell's own default.

    forget_bias      what the sum of both biases of the forget gate starts at, or ``chrono``: log u for u drawn for
                     each unit from U[1, T - 1], and the input gate's, where a cell has one of its own, at -log u
                     (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?"). A unit whose gates are at
                     their biases then keeps its state for about u characters
    chrono_length    T, characters, at least 3
    leak_rate        a of all units, or the smallest and the largest: spread log-evenly over the units
    spectral_radius  largest absolute eigenvalue of each gate's recurrent weights
    input_scaling    input weights are uniform in plus or minus this
    density          share of the units that each unit reads from, at least one
    identity_scale   what the identity is multiplied by where the recurrent weights start as it

    Raises ValueError for another word as ``forget_bias``, for a ``chrono_length`` below 3 and for a ``leak_rate`` that
    is not above 0 and at most 1.
    """

    forget_bias: float | str | None = None
    chrono_length: int | None = None
    leak_rate: float | Sequence[float] | None = None
    spectral_radius: float | None = None
    input_scaling: float | None = None
    density: float | None = None
    identity_scale: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.forget_bias, str) and self.forget_bias != CHRONO:
            raise ValueError(f"forget_bias is a number or {CHRONO!r}, found {self.forget_bias!r}")
        if self.chrono_length is not None and self.chrono_length < 3:
            raise ValueError(f"chrono_length must be at least 3, found {self.chrono_length}")
        rates = [self.leak_rate] if isinstance(self.leak_rate, float | int) else self.leak_rate or []
        if not all(0 < rate <= 1 for rate in rates):
            raise ValueError(f"leak_rate must be above 0 and at most 1, found {self.leak_rate}")

    @torch.no_grad()
    def apply(self, cell: Cell, weights: Weights) -> None:
        """Draw the first values of a layer from torch's global generator."""
        named = {"weight_ih": weights.weight_ih, "weight_hh": weights.weight_hh, **weights.parameters}
        if weights.bias_ih is not None and weights.bias_hh is not None:
            named |= {"bias_ih": weights.bias_ih, "bias_hh": weights.bias_hh}
        bound = 1 / math.sqrt(weights.hidden_size) if weights.hidden_size else 0.0
        for name in cell.parameter_shapes(1, 1):
            if name in named:
                nn.init.uniform_(named[name], -bound, bound)
        for name, start in cell.starts.items():
            if name in named:
                self._apply(cell, start, named[name])
        if cell.forget_gate and weights.bias_ih is not None:
            self._forget(cell, named)

    def _value(self, cell: Cell, option: str) -> Any:
        own = getattr(self, option)
        return cell.start_options[option] if own is None else own

    def _apply(self, cell: Cell, start: str, parameter: Tensor) -> None:
        if start == "zero":
            parameter.zero_()
        elif start == "identity":
            scale = self._value(cell, "identity_scale")
            parameter.copy_(scale * torch.eye(parameter.shape[1]).repeat(len(cell.gates), 1))
        elif start == "input_scaling":
            scale = self._value(cell, "input_scaling")
            parameter.uniform_(-scale, scale)
        elif start == "reservoir":
            if not parameter.is_meta:
                for block in parameter.chunk(len(cell.gates)):
                    _reservoir(block, self._value(cell, "density"), self._value(cell, "spectral_radius"))
        else:
            rate = _spread(self._value(cell, "leak_rate"), len(parameter))
            if start == "leak_logit":
                rate = rate.clamp(max=LEARNT_LEAK_LIMIT).logit()
            parameter.copy_(rate)

    def _forget(self, cell: Cell, named: Mapping[str, Tensor]) -> None:
        """The biases of the forget gate and, with ``chrono``, of the input gate; all of each in ``bias_ih``."""
        bias = self._value(cell, "forget_bias")
        if bias is None:
            return
        ih, hh = (dict(zip(cell.gates, named[name].chunk(len(cell.gates)), strict=True)) for name in BIASES)
        gates = [str(cell.forget_gate)]
        if bias == CHRONO:
            bias = ih[gates[0]].clone().uniform_(1, (self.chrono_length or CHRONO_LENGTH) - 1).log_()
            if cell.input_gate:
                gates.append(cell.input_gate)
        for sign, gate in zip((1, -1), gates, strict=False):
            ih[gate].copy_(torch.as_tensor(bias) * sign)
            hh[gate].zero_()


def _spread(rate: float | Sequence[float], units: int) -> Tensor:
    """One rate for each unit, [H]: all alike, or from the smallest to the largest by equal factors."""
    smallest, largest = (rate, rate) if isinstance(rate, float | int) else rate
    share = torch.linspace(0, 1, units, dtype=torch.float64)
    return smallest ** (1 - share) * largest**share


def _reservoir(block: Tensor, density: float, radius: float) -> None:
    """Draw U [H, H]: in each row as many weights as the density says, at least one.

    So every unit reads from some unit, there is a cycle, and the spectral radius is not zero.
    """
    units = len(block)
    reads = max(1, round(density * units))
    chosen = block.clone().uniform_().topk(reads).indices
    block.zero_().scatter_(1, chosen, block.new_empty(units, reads).uniform_(-1, 1))
    block.mul_(radius / torch.linalg.eigvals(block.double()).abs().max())
