"""The recurrent layers that come with torch: oneDNN on the CPU, cuDNN on NVIDIA GPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.executors.base import State, Weights, is_ids, learning, one_hot

ONE_HOT_LIMIT = 1024  # symbols up to which one-hot vectors are made; beyond, they would take more memory than the layer


class Library:
    """One layer through ``torch.lstm``, ``torch.gru`` or ``torch.rnn_*``."""

    name = "library"

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        if cell.torch is None:
            return f"torch has no {cell.name}"
        if is_ids(x) and weights.input_size > ONE_HOT_LIMIT:
            return f"it would need one-hot vectors of {weights.input_size} symbols (at most {ONE_HOT_LIMIT})"
        return None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        training = learning(weights, x, state)
        if is_ids(x):
            x = one_hot(x, weights.input_size, weights.weight_ih.dtype)
        flat = [weights.weight_ih, weights.weight_hh]
        if weights.bias_ih is not None and weights.bias_hh is not None:
            flat += [weights.bias_ih, weights.bias_hh]
        first = [s.unsqueeze(0).contiguous() for s in state]
        options = (len(flat) == 4, 1, 0.0, training, False, False)
        if cell.torch == "LSTM":
            y, *new = torch.lstm(x, first, flat, *options)
        else:
            kind = {"GRU": torch.gru, "RNN": torch.rnn_tanh}[cell.torch or ""]
            if cell.torch_options.get("nonlinearity") == "relu":
                kind = torch.rnn_relu
            y, *new = kind(x, first[0], flat, *options)
        return y, tuple(s.squeeze(0) for s in new)
