"""The simple recurrent network (Elman 1990, "Finding structure in time").

    h_t = tanh(W x_t + b + U h_{t-1} + b')

With ``nonlinearity: relu``, U initialized to ``identity_scale`` times the identity and zero biases, it is the IRNN (Le,
Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units"). At scale 1 it sums its
inputs, and its state grows with the length of the text; below 1, as in the paper for tasks without long dependencies,
it forgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, relu, tanh
from charlstm.cells.initializers import zeros

if TYPE_CHECKING:
    from torch import Tensor

NONLINEARITY = Option(
    "tanh", "The rnn's activation. relu initializes the recurrent weights to the identity: the IRNN of Le et al. 2015."
)
IDENTITY_SCALE = Option(
    1.0,
    "With nonlinearity: relu the recurrent weights are initialized to this times the identity. At 1 the rnn remembers "
    "from the start of training, and on a running text its state grows without bound; below, such as at 0.01, it "
    "forgets (Le et al. 2015).",
    gt=0,
    le=1,
)


def scaled_identity(weight_hh: Tensor, identity_scale: float) -> None:
    """Set U to ``identity_scale`` times the identity."""
    weight_hh.zero_().fill_diagonal_(identity_scale)


@cell(gates="h", state="h", torch="RNN", options={"nonlinearity": NONLINEARITY})
def rnn(x: Gates, r: Recurrent, h: Array) -> Array:
    return tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    torch="RNN",
    torch_options={"nonlinearity": "relu"},
    initializers={"weight_hh": scaled_identity, "bias_ih": zeros, "bias_hh": zeros},
    init_options={"identity_scale": IDENTITY_SCALE},
    base="rnn",
    options={"nonlinearity": "relu"},
)
def irnn(x: Gates, r: Recurrent, h: Array) -> Array:
    """The IRNN: a simple recurrent network (Elman 1990) of rectified linear units, whose recurrent weights start as the
    identity (Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units")."""
    return relu(x.h + r.h)
