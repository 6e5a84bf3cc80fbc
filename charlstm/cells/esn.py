"""The echo state network (Jaeger 2001, "The 'echo state' approach"; Jaeger & Haas 2004, "Harnessing nonlinearity"): a
random network that is not trained, and a trained output layer.

    h_t = (1 - a) * h_{t-1} + a * tanh(W x_t + U h_{t-1})

The equations are those of :mod:`charlstm.cells.leaky` with a fixed and b and b' zero. W is uniform in +-
``input_scaling``. Each unit reads from a random fraction ``density`` of the units, with weights uniform in +-1; then U
is scaled so that its spectral radius, the largest absolute value of its eigenvalues, is ``spectral_radius``. Below 1,
past inputs fade in practice (the echo state property), more slowly the closer it is to 1. a is ``leak_rate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell
from charlstm.cells.initializers import zeros
from charlstm.cells.leaky import LEAK_RATE, leaky_update, log_spaced_rates

if TYPE_CHECKING:
    from torch import Tensor

SPECTRAL_RADIUS = Option(
    0.95,
    "Largest absolute eigenvalue of the esn's recurrent weights; past characters fade more slowly the closer this is "
    "to 1, and in practice do not fade above 1 (Jaeger 2001).",
    gt=0,
    le=100,
)
INPUT_SCALING = Option(
    1.0,
    "The esn's input weights are drawn uniformly from plus or minus this value. With a small one the units stay nearly "
    "linear and remember longer; with a large one they are more nonlinear in their input.",
    gt=0,
    le=1000,
)
DENSITY = Option(0.1, "Fraction of the esn's units that each unit reads from, at least one unit.", gt=0, le=1)


def uniform(weight_ih: Tensor, input_scaling: float) -> None:
    """Draw W uniformly from [-``input_scaling``, ``input_scaling``]."""
    weight_ih.uniform_(-input_scaling, input_scaling)


def random_reservoir(weight_hh: Tensor, density: float, spectral_radius: float) -> None:
    """Draw U [H, H] with ``density`` H weights in each row, at least one.

    Every unit reads from some unit, so there is a cycle and the spectral radius is not zero.
    """
    import torch

    if weight_hh.is_meta:
        return
    hidden_size = len(weight_hh)
    fan_in = max(1, round(density * hidden_size))
    columns = weight_hh.clone().uniform_().topk(fan_in).indices
    weight_hh.zero_().scatter_(1, columns, weight_hh.new_empty(hidden_size, fan_in).uniform_(-1, 1))
    weight_hh.mul_(spectral_radius / torch.linalg.eigvals(weight_hh.double()).abs().max())


@cell(
    gates="h",
    state="h",
    parameters={"leak_rate": "a"},
    initializers={
        "weight_ih": uniform,
        "weight_hh": random_reservoir,
        "bias_ih": zeros,
        "bias_hh": zeros,
        "leak_rate": log_spaced_rates,
    },
    init_options={
        "spectral_radius": SPECTRAL_RADIUS,
        "input_scaling": INPUT_SCALING,
        "density": DENSITY,
        "leak_rate": LEAK_RATE.with_default(1.0),
    },
    frozen={"weight_ih", "weight_hh", "bias_ih", "bias_hh", "leak_rate"},
)
def esn(x: Gates, r: Recurrent, h: Array, leak_rate: Gates) -> Array:
    return leaky_update(x, r, h, leak_rate.a)
