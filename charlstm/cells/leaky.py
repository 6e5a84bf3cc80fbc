"""Leaky integrator units (Jaeger, Lukosevicius, Popovici & Siewert 2007, "Optimization and applications of echo state
networks with leaky-integrator neurons"), in the form of Lukosevicius 2012 ("A practical guide to applying echo state
networks").

    h_t = (1 - a) * h_{t-1} + a * tanh(W x_t + b + U h_{t-1} + b')

Each unit has a separate leaking rate a, 0 < a <= 1: the weight of the new activation in the state. A unit forgets over
about 1/a characters; a = 1 is the rnn. Learned (``learn_leak: true``), a = sigmoid(l) with the parameter l,
``leak_logit`` [H]; fixed (``learn_leak: false``), a is ``leak_rate`` [H].

In Jaeger et al. the weight of the new activation is a separate parameter; here it is a, too. Bengio,
Boulanger-Lewandowski & Pascanu 2013 use the opposite convention, h_t = alpha * h_{t-1} + (1 - alpha) * ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

if TYPE_CHECKING:
    from torch import Tensor

MAX_LEARNED_LEAK = 0.99
"""The largest initial value of a learned leaking rate: it is a sigmoid, which never reaches 1."""

LEARN_LEAK = Option(
    True,
    "Whether the leaky cell learns its leaking rates, one per unit; false fixes them at leak_rate.",
)
LEAK_RATE = Option(
    (0.05, 1.0),
    "Weight of the new activation in a unit's state at each character, so a unit remembers about 1 / leak_rate "
    "characters: one number for all units, or the smallest and the largest, log-spaced over the units. Learned rates "
    f"are initialized to it, at most to {MAX_LEARNED_LEAK}.",
    ge=1e-6,
    le=1,
    pair=True,
)


def log_spaced_rates(parameter: Tensor, leak_rate: float | Sequence[float]) -> None:
    """One rate per unit, [H]: all equal, or log-spaced from the smallest to the largest."""
    parameter.copy_(_log_spaced(leak_rate, len(parameter)))


def log_spaced_logits(parameter: Tensor, leak_rate: float | Sequence[float]) -> None:
    """The logits of the rates of :func:`log_spaced_rates`, clamped to ``MAX_LEARNED_LEAK``."""
    parameter.copy_(_log_spaced(leak_rate, len(parameter)).clamp(max=MAX_LEARNED_LEAK).logit())


def _log_spaced(leak_rate: float | Sequence[float], hidden_size: int) -> Tensor:
    import torch

    smallest, largest = (leak_rate, leak_rate) if isinstance(leak_rate, float | int) else leak_rate
    position = torch.linspace(0, 1, hidden_size, dtype=torch.float64)
    return smallest ** (1 - position) * largest**position


def leaky_update(x: Gates, r: Recurrent, h: Array, a: Array) -> Array:
    return (1 - a) * h + a * tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    parameters={"leak_logit": "a"},
    initializers={"leak_logit": log_spaced_logits},
    init_options={"leak_rate": LEAK_RATE},
    options={"learn_leak": LEARN_LEAK},
)
def leaky(x: Gates, r: Recurrent, h: Array, leak_logit: Gates) -> Array:
    return leaky_update(x, r, h, sigmoid(leak_logit.a))


@cell(
    gates="h",
    state="h",
    parameters={"leak_rate": "a"},
    initializers={"leak_rate": log_spaced_rates},
    init_options={"leak_rate": LEAK_RATE},
    frozen={"leak_rate"},
    base="leaky",
    options={"learn_leak": False},
)
def leaky_fixed(x: Gates, r: Recurrent, h: Array, leak_rate: Gates) -> Array:
    return leaky_update(x, r, h, leak_rate.a)
