"""The simple recurrent network (Elman 1990, "Finding structure in time").

    h_t = tanh(W x_t + b + U h_{t-1} + b')

With ``nonlinearity: relu`` and ``identity_scale`` times the identity as first recurrent matrix, biases at zero, it is
the IRNN (Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units"). At scale
1 it adds up all that it reads, and its state grows with the length of the text; below, as the paper has it for tasks
without long dependencies, it forgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, relu, tanh
from charlstm.cells.initializers import zeros

if TYPE_CHECKING:
    from torch import Tensor

NONLINEARITY = Option(
    "tanh", "The rnn's activation. relu starts the recurrent weights as the identity: the IRNN of Le et al. 2015."
)
IDENTITY_SCALE = Option(
    1.0,
    "With nonlinearity: relu the recurrent weights start as this times the identity. 1 remembers from the beginning, "
    "and on a running text the state grows without bound; less forgets, such as 0.01 (Le et al. 2015).",
    gt=0,
    le=1,
)


def identity(weight_hh: Tensor, identity_scale: float) -> None:
    """``identity_scale`` times the identity."""
    weight_hh.zero_().fill_diagonal_(identity_scale)


@cell(gates="h", state="h", torch="RNN", options={"nonlinearity": NONLINEARITY})
def rnn(x: Gates, r: Recurrent, h: Array) -> Array:
    return tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    torch="RNN",
    torch_options={"nonlinearity": "relu"},
    initializers={"weight_hh": identity, "bias_ih": zeros, "bias_hh": zeros},
    init_options={"identity_scale": IDENTITY_SCALE},
    base="rnn",
    options={"nonlinearity": "relu"},
)
def irnn(x: Gates, r: Recurrent, h: Array) -> Array:
    return relu(x.h + r.h)
