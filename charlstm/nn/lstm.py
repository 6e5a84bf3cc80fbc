"""LSTM layers: the standard one, with peepholes, and with coupled gates."""

from __future__ import annotations

import torch

from charlstm.cells import find
from charlstm.nn.base import RecurrentBase


class LSTM(RecurrentBase):
    """``torch.nn.LSTM``, without projections; equations in :mod:`charlstm.cells.lstm`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of features of the hidden state, H.
        num_layers: the number of stacked layers.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the dropout probability on the output of every layer but the last, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: auto, or the name of the executor that runs the layers (:func:`charlstm.executors.executors`).
        forget_bias: the initial sum of the biases of the forget gate, or ``"chrono"``; None: as in torch.nn.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
        recurrent_init: ``"uniform"`` or ``"orthogonal"`` recurrent weights; None: uniform, as in torch.nn.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__(
            find("lstm"),
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
            forget_bias=forget_bias,
            chrono_length=chrono_length,
            recurrent_init=recurrent_init,
        )


class PeepholeLSTM(RecurrentBase):
    """LSTM with peepholes, ``weight_peephole_l0`` of 3H in the order i f o; :mod:`charlstm.cells.peephole`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of features of the hidden state, H.
        num_layers: the number of stacked layers.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the dropout probability on the output of every layer but the last, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: auto, or the name of the executor that runs the layers (:func:`charlstm.executors.executors`).
        forget_bias: the initial sum of the biases of the forget gate, or ``"chrono"``; None: as in torch.nn.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
        recurrent_init: ``"uniform"`` or ``"orthogonal"`` recurrent weights; None: uniform, as in torch.nn.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__(
            find("peephole"),
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
            forget_bias=forget_bias,
            chrono_length=chrono_length,
            recurrent_init=recurrent_init,
        )


class CoupledLSTM(RecurrentBase):
    """LSTM with coupled input and forget gates; :mod:`charlstm.cells.coupled`.

    Args:
        input_size: the number of features of the input, I.
        hidden_size: the number of features of the hidden state, H.
        num_layers: the number of stacked layers.
        bias: whether the layers have the biases b_ih and b_hh.
        batch_first: whether input and output are [B, T, I] and [B, T, D H]; states stay [L D, B, H].
        dropout: the dropout probability on the output of every layer but the last, from 0 to 1.
        bidirectional: whether each layer reads in both directions, D = 2.
        proj_size: as in torch.nn; must be 0.
        device, dtype: of the parameters.
        executor: auto, or the name of the executor that runs the layers (:func:`charlstm.executors.executors`).
        forget_bias: the initial sum of the biases of the forget gate, or ``"chrono"``; None: as in torch.nn.
        chrono_length: with ``"chrono"``, the longest dependency in time steps, at least 3.
        recurrent_init: ``"uniform"`` or ``"orthogonal"`` recurrent weights; None: uniform, as in torch.nn.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        executor: str = "auto",
        *,
        forget_bias: float | str | None = None,
        chrono_length: int | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__(
            find("coupled"),
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
            forget_bias=forget_bias,
            chrono_length=chrono_length,
            recurrent_init=recurrent_init,
        )
