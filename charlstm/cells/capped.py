"""LSTM whose input gate is at most 1 - f (Melis, Dyer & Blunsom 2018, "On the state of the art of evaluation in neural
language models").

    i = sigmoid(W_i x + b_i + U_i h + b'_i)    input gate
    f = sigmoid(W_f x + b_f + U_f h + b'_f)    forget gate
    g = tanh   (W_g x + b_g + U_g h + b'_g)
    o = sigmoid(W_o x + b_o + U_o h + b'_o)
    c_t = f * c_{t-1} + min(i, 1 - f) * g
    h_t = o * tanh(c_t)

So |c| never exceeds 1, as in the LSTM with coupled gates, but the cell may also forget without reading anything.
"""

from charlstm.cells.base import Array, Gates, Recurrent, cell, relu, sigmoid, tanh


@cell(gates="ifgo", state="hc", forget_gate="f", input_gate="i")
def capped(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    i = i - relu(i + f - 1)  # min(i, 1 - f)
    c = f * c + i * tanh(x.g + r.g)
    return o * tanh(c), c
