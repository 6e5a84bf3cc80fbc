"""The gated recurrent unit (Cho et al. 2014), with the reset gate before or after the recurrent matmul.

    r = sigmoid(W_r x + b_r + U_r h + b'_r)    reset gate
    z = sigmoid(W_z x + b_z + U_z h + b'_z)    update gate
    n = tanh(W_n x + b_n + r * (U_n h + b'_n))   reset_after: true  (cuDNN, torch.nn.GRU)
    n = tanh(W_n x + b_n + U_n (r * h) + b'_n)   reset_after: false (Cho et al. 2014; Chung et al. 2014)
    h_t = (1 - z) * n + z * h_{t-1}

With the reset after, r scales the result of the matmul, including b'_n; before, r scales its operand, and only the sum
of b_n and b'_n matters. The two are different networks with the same weights.

Here, as in Cho et al. and torch, z multiplies the old state. Chung et al. 2014 write h_t = (1 - z) * h_{t-1} + z * n:
the same cell with z and 1 - z exchanged. As 1 - sigmoid(a) = sigmoid(-a), its weights are converted by negating W_z,
U_z, b_z and b'_z. ``forget_bias`` initializes b_z + b'_z as written here; without it they are initialized as in torch.
"""

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

RESET_AFTER = Option(
    True,
    "Where the gru applies its reset gate. true: after the recurrent matmul, as cuDNN and torch do. false: before it, "
    "as Cho et al. 2014 wrote it.",
)


@cell(
    gates="rzn",
    state="h",
    torch="GRU",
    forget_gate="z",
    options={"reset_after": RESET_AFTER},
)
def gru(x: Gates, r: Recurrent, h: Array) -> Array:
    reset, z = sigmoid(x.r + r.r), sigmoid(x.z + r.z)
    n = tanh(x.n + reset * r.n)
    return (1 - z) * n + z * h


@cell(
    gates="rzn",
    state="h",
    forget_gate="z",
    base="gru",
    options={"reset_after": False},
)
def gru_reset_before(x: Gates, r: Recurrent, h: Array) -> Array:
    reset, z = sigmoid(x.r + r.r), sigmoid(x.z + r.z)
    n = tanh(x.n + r.of(reset * h).n)
    return (1 - z) * n + z * h
