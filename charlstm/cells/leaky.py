"""Leaky integrator units (Jaeger, Lukosevicius, Popovici & Siewert 2007, "Optimization and applications of echo state
networks with leaky-integrator neurons").

    h_t = (1 - a) * h_{t-1} + a * tanh(W x_t + b + U h_{t-1} + b')

Each unit has a leaking rate a of its own, 0 < a <= 1: the share of the state that is new at each step. A unit forgets
over about 1/a characters; a = 1 is the rnn. Learnt (``learn_leak: true``), a = sigmoid(l) with the parameter l,
``leak_logit`` [H]; fixed (``learn_leak: false``), a itself is ``leak_rate`` [H].

Here, as in Jaeger et al., a is what is new. Bengio, Boulanger-Lewandowski & Pascanu 2013 write alpha for what is kept,
h_t = alpha * h_{t-1} + (1 - alpha) * ...: the opposite.
"""

from typing import Any

from charlstm.cells.base import cell, sigmoid, tanh

SPREAD = {"leak_rate": (0.05, 1.0)}


def _integrated(x: Any, r: Any, h: Any, a: Any) -> Any:
    return (1 - a) * h + a * tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    parameters={"leak_logit": "a"},
    starts={"leak_logit": "leak_logit"},
    start_options=SPREAD,
    options={"learn_leak": True},
)
def leaky(x: Any, r: Any, h: Any, leak_logit: Any) -> Any:
    return _integrated(x, r, h, sigmoid(leak_logit.a))


@cell(
    gates="h",
    state="h",
    parameters={"leak_rate": "a"},
    starts={"leak_rate": "leak_rate"},
    start_options=SPREAD,
    fixed={"leak_rate"},
    base="leaky",
    options={"learn_leak": False},
)
def leaky_fixed(x: Any, r: Any, h: Any, leak_rate: Any) -> Any:
    return _integrated(x, r, h, leak_rate.a)
