"""Long short-term memory (Hochreiter & Schmidhuber 1997) with the forget gate of Gers, Schmidhuber & Cummins 2000.

    i = sigmoid(W_i x + b_i + U_i h + b'_i)    input gate
    f = sigmoid(W_f x + b_f + U_f h + b'_f)    forget gate
    g = tanh   (W_g x + b_g + U_g h + b'_g)    candidate
    o = sigmoid(W_o x + b_o + U_o h + b'_o)    output gate
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

Each gate has two biases, as in torch; only their sum matters. ``ablate`` removes one part: see
:mod:`charlstm.cells.ablations`.
"""

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

ABLATE = Option(
    None,
    "The part that is removed from the lstm (Greff et al. 2017). forget_gate: the cell of 1997, whose state can only "
    "be added to. input_activation: a linear candidate. output_activation: the cell state without its tanh. "
    "cell_gradient, hidden_gradient: the full lstm, trained with the gradient from each character to the previous one "
    "stopped along the cell state or, as in 1997, along the output h. null: the full lstm.",
)


@cell(gates="ifgo", state="hc", torch="LSTM", forget_gate="f", input_gate="i", options={"ablate": ABLATE})
def lstm(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * tanh(x.g + r.g)
    return o * tanh(c), c
