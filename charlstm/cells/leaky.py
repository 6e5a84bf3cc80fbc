"""Leaky integrator units (Jaeger, Lukosevicius, Popovici & Siewert 2007, "Optimization and applications of echo state
networks with leaky-integrator neurons").

    h_t = (1 - a) * h_{t-1} + a * tanh(W x_t + b + U h_{t-1} + b')

Each unit has a leaking rate a of its own, 0 < a <= 1: the share of the state that is new at each step. A unit forgets
over about 1/a characters; a = 1 is the rnn. Learnt (``learn_leak: true``), a = sigmoid(l) with the parameter l,
``leak_logit`` [H]; fixed (``learn_leak: false``), a itself is ``leak_rate`` [H].

Here, as in Jaeger et al., a is what is new. Bengio, Boulanger-Lewandowski & Pascanu 2013 write alpha for what is kept,
h_t = alpha * h_{t-1} + (1 - alpha) * ...: the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

if TYPE_CHECKING:
    from torch import Tensor

LEARNT_LEAK_LIMIT = 0.99
"""The largest initial value of a learnt leaking rate: it is a sigmoid, which never reaches 1."""

LEARN_LEAK = Option(
    True,
    "Whether the leaky cell learns its leaking rates, one for each unit; false leaves them as leak_rate says.",
)
LEAK_RATE = Option(
    (0.05, 1.0),
    "Share of a unit's state that is new at each character, so a unit remembers about 1 / leak_rate characters: one "
    "number for all units, or the smallest and the largest, spread over the units by equal factors. Learnt rates start "
    f"there, at most at {LEARNT_LEAK_LIMIT}.",
    ge=1e-6,
    le=1,
    pair=True,
)


def spread_rates(parameter: Tensor, leak_rate: float | Sequence[float]) -> None:
    """One rate for each unit, [H]: all alike, or from the smallest to the largest by equal factors."""
    parameter.copy_(_spread(leak_rate, len(parameter)))


def spread_logits(parameter: Tensor, leak_rate: float | Sequence[float]) -> None:
    """The logits of the rates of :func:`spread_rates`, of at most ``LEARNT_LEAK_LIMIT``."""
    parameter.copy_(_spread(leak_rate, len(parameter)).clamp(max=LEARNT_LEAK_LIMIT).logit())


def _spread(leak_rate: float | Sequence[float], units: int) -> Tensor:
    import torch

    smallest, largest = (leak_rate, leak_rate) if isinstance(leak_rate, float | int) else leak_rate
    share = torch.linspace(0, 1, units, dtype=torch.float64)
    return smallest ** (1 - share) * largest**share


def leaky_update(x: Gates, r: Recurrent, h: Array, a: Array) -> Array:
    return (1 - a) * h + a * tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    parameters={"leak_logit": "a"},
    initializers={"leak_logit": spread_logits},
    init_options={"leak_rate": LEAK_RATE},
    options={"learn_leak": LEARN_LEAK},
)
def leaky(x: Gates, r: Recurrent, h: Array, leak_logit: Gates) -> Array:
    return leaky_update(x, r, h, sigmoid(leak_logit.a))


@cell(
    gates="h",
    state="h",
    parameters={"leak_rate": "a"},
    initializers={"leak_rate": spread_rates},
    init_options={"leak_rate": LEAK_RATE},
    frozen={"leak_rate"},
    base="leaky",
    options={"learn_leak": False},
)
def leaky_fixed(x: Gates, r: Recurrent, h: Array, leak_rate: Gates) -> Array:
    return leaky_update(x, r, h, leak_rate.a)
