"""The layer of leaky units."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from charlstm.cells import find
from charlstm.nn.base import RecurrentBase


class Leaky(RecurrentBase):
    """Leaky units; ``leak_rate`` is a number, or the smallest and the largest: :mod:`charlstm.cells.leaky`.

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
        learn_leak: whether the leak rates are trainable.
        leak_rate: the initial rate of all units, or the smallest and the largest, above 0 and at most 1; None: the
            default of the cell.
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
        learn_leak: bool = True,
        leak_rate: float | Sequence[float] | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__(
            find("leaky", learn_leak=learn_leak),
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
            leak_rate=leak_rate,
            recurrent_init=recurrent_init,
        )
