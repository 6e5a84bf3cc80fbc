"""Long short-term memory (Hochreiter & Schmidhuber 1997) with the forget gate of Gers, Schmidhuber & Cummins 2000.

    i = sigmoid(W_i x + b_i + U_i h + b'_i)    input gate
    f = sigmoid(W_f x + b_f + U_f h + b'_f)    forget gate
    g = tanh   (W_g x + b_g + U_g h + b'_g)    candidate
    o = sigmoid(W_o x + b_o + U_o h + b'_o)    output gate
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

Each gate has two biases, as in torch; only their sum counts. ``ablate`` takes one part away; see
:mod:`charlstm.cells.ablations`.
"""

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

WITHOUT = Option(
    None,
    "What the lstm has to do without (Greff et al. 2017). forget_gate: the cell of 1997, whose state can only be added "
    "to. input_activation: a linear candidate. output_activation: the cell state comes out as it is. cell_gradient, "
    "hidden_gradient: the whole lstm, trained with the gradient stopped, from each character to the one before, along "
    "the cell state or, as in 1997, along the output h. null: the whole lstm.",
)


@cell(gates="ifgo", state="hc", torch="LSTM", forget_gate="f", input_gate="i", options={"ablate": WITHOUT})
def lstm(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
    c = f * c + i * tanh(x.g + r.g)
    return o * tanh(c), c
