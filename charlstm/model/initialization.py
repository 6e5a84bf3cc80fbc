"""Parameter initialization: uniform, as in torch.nn, except for what a cell declares or a user sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from charlstm.cells import Cell
from charlstm.cells.base import option_names
from charlstm.config.cell_options import check_init_option
from charlstm.executors import Weights

CHRONO = "chrono"
ORTHOGONAL = "orthogonal"
BIASES = ("bias_ih", "bias_hh")


class Initializer:
    """Initialization options by name (the ``init_options`` of a cell); an option that is missing or None takes the
    default of the cell. Every cell with a forget gate has

    forget_bias      initial sum of both biases of the forget gate, or ``chrono``: log u with u drawn for each unit
                     from U[1, T - 1], and -log u for the input gate if the cell has a separate one (Tallec & Ollivier
                     2018, "Can recurrent neural networks warp time?"). A unit whose gates equal the sigmoid of
                     their biases then retains its state for about u characters
    chrono_length    T, characters, at least 3

    and every cell whose trained recurrent weights have no initializer of their own has

    recurrent_init   ``uniform``, as in torch.nn, or ``orthogonal``: a random orthogonal matrix for each gate (Saxe,
                     McClelland & Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear
                     neural networks")

    ``init_range`` r makes all uniform initializations those in +-r, in place of torch.nn's +-1/sqrt(H).

    Raises ValueError for a value outside the option's range and TypeError for an option that no cell has.
    """

    def __init__(self, *, init_range: float | None = None, **options: Any) -> None:
        self.init_range = init_range
        for name, value in options.items():
            check_init_option(name, value)
        self.options: Mapping[str, Any] = {name: value for name, value in options.items() if value is not None}

    @torch.no_grad()
    def apply(self, cell: Cell, weights: Weights) -> None:
        """Initialize a layer's parameters in place from torch's global generator."""
        if weights.weight_hh.is_meta:  # no values; random functions import torch's compiler there, which takes seconds
            return
        named = {"weight_ih": weights.weight_ih, "weight_hh": weights.weight_hh, **weights.parameters}
        if weights.bias_ih is not None and weights.bias_hh is not None:
            named |= {"bias_ih": weights.bias_ih, "bias_hh": weights.bias_hh}
        bound = self.init_range
        if bound is None:
            bound = 1 / math.sqrt(weights.hidden_size) if weights.hidden_size else 0.0
        for name in cell.parameter_shapes(1, 1):
            if name in named:
                nn.init.uniform_(named[name], -bound, bound)
        if "recurrent_init" in cell.init_options and self._value(cell, "recurrent_init") == ORTHOGONAL:
            for block in _gate_views(cell, "weight_hh", weights.weight_hh).values():
                nn.init.orthogonal_(block)
        for key, initialize in cell.initializers.items():
            name, _, part = key.partition(".")
            if name in named:
                parameter = _gate_views(cell, name, named[name])[part] if part else named[name]
                initialize(parameter, **{option: self._value(cell, option) for option in option_names(initialize)})
        if cell.forget_gate and weights.bias_ih is not None:
            self._init_forget_gate(cell, named)

    def _value(self, cell: Cell, option: str) -> Any:
        return self.options.get(option, cell.init_options[option].default)

    def _init_forget_gate(self, cell: Cell, named: Mapping[str, Tensor]) -> None:
        """Set the biases of the forget gate and, with ``chrono``, of the input gate, in ``bias_ih``; ``bias_hh`` is
        zero."""
        bias = self._value(cell, "forget_bias")
        if bias is None:
            return
        ih, hh = (_gate_views(cell, name, named[name]) for name in BIASES)
        gates = [str(cell.forget_gate)]
        if bias == CHRONO:
            bias = ih[gates[0]].clone().uniform_(1, self._value(cell, "chrono_length") - 1).log_()
            if cell.input_gate:
                gates.append(cell.input_gate)
        for sign, gate in zip((1, -1), gates, strict=False):
            ih[gate].copy_(torch.as_tensor(bias) * sign)
            hh[gate].zero_()


def normal_(tensor: Tensor) -> Tensor:
    """Fill a tensor with draws from N(0, 1), unless it is on the meta device (see `Initializer.apply`)."""
    return tensor if tensor.is_meta else tensor.normal_()


def _gate_views(cell: Cell, name: str, parameter: Tensor) -> dict[str, Tensor]:
    """Views of the rows of each gate, or of each entry of a per-unit parameter."""
    letters = cell.parts_of(name)
    return dict(zip(letters, parameter.chunk(len(letters)), strict=True))
