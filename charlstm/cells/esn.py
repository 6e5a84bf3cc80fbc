"""The echo state network (Jaeger 2001, "The 'echo state' approach"; Jaeger & Haas 2004, "Harnessing nonlinearity"): a
random network that never learns, and a readout that does.

    h_t = (1 - a) * h_{t-1} + a * tanh(W x_t + U h_{t-1})

The equations are those of :mod:`charlstm.cells.leaky` with a fixed, b and b' zero. W is uniform in +- input_scaling.
Each unit reads from a share ``density`` of the units, drawn at random, with weights uniform in +-1; then U is scaled so
that its spectral radius, the largest absolute value of its eigenvalues, is ``spectral_radius``. Below 1, what a unit
echoes dies away in practice (the echo state property), the slower the nearer it is to 1. a is ``leak_rate``.
"""

from typing import Any

from charlstm.cells.base import cell
from charlstm.cells.leaky import leaky_fixed


@cell(
    gates="h",
    state="h",
    parameters={"leak_rate": "a"},
    starts={
        "weight_ih": "input_scaling",
        "weight_hh": "reservoir",
        "bias_ih": "zero",
        "bias_hh": "zero",
        "leak_rate": "leak_rate",
    },
    start_options={"spectral_radius": 0.95, "input_scaling": 1.0, "density": 0.1, "leak_rate": 1.0},
    fixed={"weight_ih", "weight_hh", "bias_ih", "bias_hh", "leak_rate"},
)
def esn(x: Any, r: Any, h: Any, leak_rate: Any) -> Any:
    return leaky_fixed.equations(x, r, h, leak_rate)
