"""LSTM with peephole connections (Gers & Schmidhuber 2000, "Recurrent nets that time and count").

    i = sigmoid(W_i x + b_i + U_i h + b'_i + p_i * c_{t-1})
    f = sigmoid(W_f x + b_f + U_f h + b'_f + p_f * c_{t-1})
    g = tanh   (W_g x + b_g + U_g h + b'_g)
    c_t = f * c_{t-1} + i * g
    o = sigmoid(W_o x + b_o + U_o h + b'_o + p_o * c_t)
    h_t = o * tanh(c_t)

The peepholes p are diagonal: one weight per unit, ``weight_peephole`` [3H] in the order i f o. Input and forget gate
read the old cell state, the output gate reads the new one.
"""

from charlstm.cells.base import Array, Gates, Recurrent, cell, sigmoid, tanh


@cell(gates="ifgo", state="hc", parameters={"weight_peephole": "ifo"}, forget_gate="f", input_gate="i")
def peephole(x: Gates, r: Recurrent, h: Array, c: Array, p: Gates) -> tuple[Array, Array]:
    i, f = (sigmoid(x[k] + r[k] + p[k] * c) for k in "if")
    c = f * c + i * tanh(x.g + r.g)
    o = sigmoid(x.o + r.o + p.o * c)
    return o * tanh(c), c
