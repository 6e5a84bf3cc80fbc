"""The LSTM with one part taken away: the ablations of Greff et al. 2017, "LSTM: a search space odyssey".

    without:                                                       in the paper
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
"""

from typing import Any

from charlstm.cells.base import cell, sigmoid, tanh


@cell(gates="igo", state="hc", base="lstm", options={"without": "forget_gate"})
def lstm_no_forget_gate(x: Any, r: Any, h: Any, c: Any) -> Any:
    i, o = sigmoid(x.i + r.i), sigmoid(x.o + r.o)
    c = c + i * tanh(x.g + r.g)
    return o * tanh(c), c


@cell(gates="fgo", state="hc", forget_gate="f", base="lstm", options={"without": "input_gate"})
def lstm_no_input_gate(x: Any, r: Any, h: Any, c: Any) -> Any:
    f, o = sigmoid(x.f + r.f), sigmoid(x.o + r.o)
    c = f * c + tanh(x.g + r.g)
    return o * tanh(c), c


@cell(gates="ifg", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"without": "output_gate"})
def lstm_no_output_gate(x: Any, r: Any, h: Any, c: Any) -> Any:
    i, f = sigmoid(x.i + r.i), sigmoid(x.f + r.f)
    c = f * c + i * tanh(x.g + r.g)
    return tanh(c), c


@cell(gates="ifgo", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"without": "input_activation"})
def lstm_no_input_activation(x: Any, r: Any, h: Any, c: Any) -> Any:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * (x.g + r.g)
    return o * tanh(c), c


@cell(gates="ifgo", state="hc", forget_gate="f", input_gate="i", base="lstm", options={"without": "output_activation"})
def lstm_no_output_activation(x: Any, r: Any, h: Any, c: Any) -> Any:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * tanh(x.g + r.g)
    return o * c, c
