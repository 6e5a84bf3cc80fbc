"""The simple recurrent layer."""

from __future__ import annotations

import torch

from charlstm.cells import find
from charlstm.nn.base import RecurrentBase


class RNN(RecurrentBase):
    """``torch.nn.RNN``: h = tanh(W x + b + U h + b'); ``nonlinearity="relu"`` initializes U to the identity (IRNN).

    As in torch.nn, ``nonlinearity`` is also the fourth argument by position. Raises ValueError for another value.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of features of the hidden state, H.
        num_layers: the number of stacked layers.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the dropout probability on the output of every layer but the last, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: auto, or the name of the executor that runs the layers (:func:`charlstm.executors.executors`).
        identity_scale: with relu, the initial scale of the identity; None: 1.
        recurrent_init: with tanh, ``"uniform"`` or ``"orthogonal"`` recurrent weights; None: uniform, as in torch.nn.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        *,
        identity_scale: float | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be tanh or relu, found {nonlinearity!r}")
        super().__init__(
            find("rnn", nonlinearity=nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            executor,
            identity_scale=identity_scale,
            recurrent_init=recurrent_init,
        )
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"
