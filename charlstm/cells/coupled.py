"""LSTM with coupled input and forget gates (CIFG; Greff et al. 2017, "LSTM: a search space odyssey").

    f = sigmoid(W_f x + b_f + U_f h + b'_f)    forget gate; the input gate is 1 - f
    g = tanh   (W_g x + b_g + U_g h + b'_g)
    o = sigmoid(W_o x + b_o + U_o h + b'_o)
    c_t = f * c_{t-1} + (1 - f) * g
    h_t = o * tanh(c_t)

One gate fewer than the LSTM.
"""

from charlstm.cells.base import Array, Gates, Recurrent, cell, sigmoid, tanh


@cell(gates="fgo", state="hc", forget_gate="f")
def coupled(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    f, o = sigmoid(x.f + r.f), sigmoid(x.o + r.o)
    c = f * c + (1 - f) * tanh(x.g + r.g)
    return o * tanh(c), c
