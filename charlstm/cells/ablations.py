"""The LSTM with one part taken away: the ablations of Greff et al. 2017, "LSTM: a search space odyssey", and two that
take from its gradient only.

    ablate:                                                       in the paper
    forget_gate         c_t = c_{t-1} + i * g                      NFG
    input_gate          c_t = f * c_{t-1} + g                      NIG
    output_gate         h_t = tanh(c_t)                            NOG
    input_activation    g = W_g x + b_g + U_g h + b'_g             NIAF
    output_activation   h_t = o * c_t                              NOAF

All else is as in :mod:`charlstm.cells.lstm`; a gate that is taken away has no weights. Without its forget gate it is
the LSTM of Hochreiter & Schmidhuber 1997, whose cell state can only be added to.

The paper's baseline has peepholes, which these cells have not: hold each against ``lstm``. Two more of its variants are
cells of their own: ``lstm`` against ``peephole`` is "no peepholes" (NP), ``coupled`` is the coupled input and forget
gate (CIFG). Its full gate recurrence (FGR), nine more recurrent matrices from the gates of the step before, is left
out: it does not fit a cell with one recurrent matrix.

Two more compute what the ``lstm`` computes, with the same weights, and learn by another gradient. From each step to the
one before, it is stopped along one part of the state, which the step sees as if it were given:

    ablate:            no gradient along   what is still learnt
    cell_gradient       c_{t-1}             f gets (dL/dc_t) * c_{t-1}; what lies further back is reached through h only
    hidden_gradient     h_{t-1}             U gets d_t h_{t-1}^T, but U^T d_t goes nowhere; the way back is c's alone

Without the hidden gradient, dc_t / dc_{t-1} is f and nothing else: the constant error carousel by itself. So Hochreiter
& Schmidhuber 1997 truncate the gradient: errors that reach the inputs of a memory cell and of its gates change the
weights there, and are not followed further back in time.
"""

from charlstm.cells.base import Array, Gates, Recurrent, cell, sigmoid, tanh
from charlstm.cells.lstm import lstm


@cell(gates="igo", state="hc", base="lstm", options={"ablate": "forget_gate"})
def lstm_no_forget_gate(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, o = sigmoid(x.i + r.i), sigmoid(x.o + r.o)
    c = c + i * tanh(x.g + r.g)
    return o * tanh(c), c


@cell(gates="fgo", state="hc", forget_gate="f", base="lstm", options={"ablate": "input_gate"})
def lstm_no_input_gate(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    f, o = sigmoid(x.f + r.f), sigmoid(x.o + r.o)
    c = f * c + tanh(x.g + r.g)
    return o * tanh(c), c


@cell(gates="ifg", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"ablate": "output_gate"})
def lstm_no_output_gate(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f = sigmoid(x.i + r.i), sigmoid(x.f + r.f)
    c = f * c + i * tanh(x.g + r.g)
    return tanh(c), c


@cell(gates="ifgo", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"ablate": "input_activation"})
def lstm_no_input_activation(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * (x.g + r.g)
    return o * tanh(c), c


@cell(gates="ifgo", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"ablate": "output_activation"})
def lstm_no_output_activation(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * tanh(x.g + r.g)
    return o * c, c


@cell(
    gates="ifgo",
    state="hc",
    forget_gate="f",
    input_gate="i",
    stop_gradient="c",
    base="lstm",
    options={"ablate": "cell_gradient"},
)
def lstm_no_cell_gradient(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, ...]:
    return lstm.step(x, r, h, c)


@cell(
    gates="ifgo",
    state="hc",
    forget_gate="f",
    input_gate="i",
    stop_gradient="h",
    base="lstm",
    options={"ablate": "hidden_gradient"},
)
def lstm_no_hidden_gradient(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, ...]:
    return lstm.step(x, r, h, c)
