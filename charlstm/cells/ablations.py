"""The LSTM with one part removed: the ablations of Greff et al. 2017, "LSTM: a search space odyssey", and two that
remove part of its gradient only.

    ablate:                                                       in the paper
    forget_gate         c_t = c_{t-1} + i * g                      NFG
    input_gate          c_t = f * c_{t-1} + g                      NIG
    output_gate         h_t = tanh(c_t)                            NOG
    input_activation    g = W_g x + b_g + U_g h + b'_g             NIAF
    output_activation   h_t = o * c_t                              NOAF

Everything else is as in :mod:`charlstm.cells.lstm`; a removed gate has no weights. Without the forget gate it is the
LSTM of Hochreiter & Schmidhuber 1997, whose cell state can only be added to.

The paper's baseline has peepholes and these cells do not: compare each to ``lstm``. Two more of its variants are
separate cells: ``lstm`` compared to ``peephole`` is "no peepholes" (NP), ``coupled`` is the coupled input and forget
gate (CIFG). The full gate recurrence (FGR), nine more recurrent matrices that read the gates of the previous step, is
not implemented: it does not fit a cell with one recurrent matrix.

Two more compute the same forward pass as ``lstm``, with the same weights, and differ in the backward pass: the gradient
with respect to one part of the previous state is stopped (``detach``):

    ablate:            no gradient along   remaining gradient
    cell_gradient       c_{t-1}             f gets (dL/dc_t) * c_{t-1}; earlier steps are reached through h only
    hidden_gradient     h_{t-1}             U gets d_t h_{t-1}^T, but U^T d_t is dropped; earlier steps through c only

Without the hidden gradient, dc_t / dc_{t-1} = f: the constant error carousel alone. Hochreiter & Schmidhuber 1997
truncate the gradient in this way: errors at the inputs of a memory cell and of its gates update the weights there and
are not propagated further back in time.
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
