"""The simple recurrent network (Elman 1990, "Finding structure in time").

    h_t = tanh(W x_t + b + U h_{t-1} + b')

With ``nonlinearity: relu`` and ``identity_scale`` times the identity as first recurrent matrix, biases at zero, it is
the IRNN (Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units"). At scale
1 it adds up all that it reads, and its state grows with the length of the text; below, as the paper has it for tasks
without long dependencies, it forgets.
"""

from typing import Any

from charlstm.cells.base import cell, relu, tanh


@cell(gates="h", state="h", torch="RNN", options={"nonlinearity": "tanh"})
def rnn(x: Any, r: Any, h: Any) -> Any:
    return tanh(x.h + r.h)


@cell(
    gates="h",
    state="h",
    torch="RNN",
    torch_options={"nonlinearity": "relu"},
    starts={"weight_hh": "identity", "bias_ih": "zero", "bias_hh": "zero"},
    start_options={"identity_scale": 1.0},
    base="rnn",
    options={"nonlinearity": "relu"},
)
def irnn(x: Any, r: Any, h: Any) -> Any:
    return relu(x.h + r.h)
