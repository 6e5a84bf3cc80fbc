"""Runs torch's recurrent layers: oneDNN on the CPU, cuDNN on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.executors.base import StackRunner, State, Weights, is_ids, matmul_dtype, needs_grad, one_hot
from charlstm.executors.tracing import traced_by_jit, tracing, transforming

ONE_HOT_LIMIT = 1024  # symbols; larger one-hot vectors would take more memory than the layer
CUDNN_BFLOAT16 = 91300  # the first version of cuDNN with recurrent layers in bfloat16
TORCH_CASTS = ("cpu",)
"""Devices on which torch's autocast casts these layers correctly; on CUDA it casts to float16, whatever its dtype."""


class Vendor:
    """Calls ``torch.lstm``, ``torch.gru`` or ``torch.rnn_*``. Under ``torch.autocast`` in bfloat16 most of them also
    round the state to bfloat16 at every step; it is returned in the weights' dtype."""

    name = "vendor"
    devices = None
    automatic = True
    stack_devices = ("cuda",)
    """cuDNN overlaps the layers of a stack."""

    @property
    def stacks(self) -> StackRunner:
        return self

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        if cell.torch is None:
            return f"torch has no {cell.name}"
        if is_ids(x) and weights.input_size > ONE_HOT_LIMIT:
            return f"it would need one-hot vectors of {weights.input_size} symbols (the limit is {ONE_HOT_LIMIT})"
        if transforming():
            return "torch cannot transform its recurrent layers"
        device, in_bfloat16 = weights.weight_hh.device, matmul_dtype(weights.weight_hh) == torch.bfloat16
        if in_bfloat16 and device.type == "cuda" and not _cudnn_runs(torch.bfloat16, device):
            return "recurrent layers in bfloat16 need cuDNN 9.13 or later and a GPU that supports bfloat16"
        if device.type in TORCH_CASTS and not tracing(weights, x):
            return training_error(cell, device.type, weights.weight_hh.dtype, matmul_dtype(weights.weight_hh))
        return None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, new = self.run_stack(cell, [weights], x, tuple(s.unsqueeze(0) for s in state))
        return y, tuple(s.squeeze(0) for s in new)

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:
        """The gates and two vectors [H] for each part of the state, as in cuDNN, and the one-hot vectors of ids."""
        return hidden_size * dtype.itemsize * (len(cell.gates) + 2 * len(cell.state)) + 4 * symbols

    def arrange_stack(self, cell: Cell, layers: Sequence[Weights]) -> None:
        if cell.torch is not None:
            flatten_weights(cell, len(layers), flat_weight_list(layers))

    def run_stack(
        self, cell: Cell, layers: Sequence[Weights], x: Tensor, state: State, flat: bool = False
    ) -> tuple[Tensor, State]:
        """Run several layers, each on the output of the one below, in one call; each part of the state is [L, B, H].

        ``flat``: the weights have the layout of :func:`flatten_weights`; otherwise a copy with that layout is made.
        """
        device, param_dtype = x.device, layers[0].weight_hh.dtype
        torch_casts = device.type in TORCH_CASTS
        dtype = param_dtype if torch_casts else matmul_dtype(layers[0].weight_hh)
        training = traced_by_jit() or any(needs_grad(weights, x, state) for weights in layers)
        with nullcontext() if torch_casts else torch.autocast(device.type, enabled=False):
            x = one_hot(x, layers[0].input_size, dtype) if is_ids(x) else x.to(dtype)
            weights = [w.to(dtype) for w in flat_weight_list(layers)]
            if _cudnn_runs(dtype, device) and not (flat and dtype == param_dtype):
                weights = _flat_copy(cell, len(layers), weights)
            initial = [s.to(dtype).contiguous() for s in state]
            options = (len(weights) == 4 * len(layers), len(layers), 0.0, training, False, False)
            if cell.torch == "LSTM":
                y, *new = torch.lstm(x, initial, weights, *options)
            else:
                y, *new = _single_state_function(cell)(x, initial[0], weights, *options)
            return y, tuple(s.to(param_dtype) for s in new)


@cache
def training_error(cell: Cell, device: str, param_dtype: torch.dtype, compute_dtype: torch.dtype) -> str | None:
    """Why torch's layer of a cell cannot be trained here with these dtypes of weights and matmuls, in a few words; None
    if it can. Tries one step of a small layer, once per process: support depends on the processor (oneDNN has no LSTM
    in bfloat16 on a CPU that has only AVX2)."""
    cast = compute_dtype != param_dtype
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng([]):
            layer = getattr(torch.nn, cell.torch or "")(1, 1, **cell.torch_options, device=device, dtype=param_dtype)
            with torch.autocast(device, compute_dtype if cast else None, enabled=cast):
                layer(torch.zeros(1, 1, 1, device=device, dtype=param_dtype))[0].sum().backward()
    except RuntimeError as error:
        name = str(compute_dtype).removeprefix("torch.")
        return (
            f"torch cannot run its {cell.torch} in {name} on this {device.upper()} ({str(error).splitlines()[0][:80]})"
        )
    return None


def flat_weight_list(layers: Sequence[Weights]) -> list[Tensor]:
    """The weights in the order of torch's functions."""
    matrices_and_biases = ((w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh) for w in layers)
    return [t for t in chain.from_iterable(matrices_and_biases) if t is not None]


def flatten_weights(cell: Cell, num_layers: int, weights: Sequence[Tensor]) -> None:
    """Move the weights of a whole stack, without changing their values, into one buffer in cuDNN's order: torch would
    otherwise make such a copy at every call, with a warning. Does nothing without cuDNN."""
    first, second, *_ = weights
    if not _cudnn_runs(first.dtype, first.device):
        return
    with torch.no_grad(), torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        torch._cudnn_rnn_flatten_weight(
            list(weights),
            len(weights) // num_layers,
            first.shape[1],
            _mode(cell),
            second.shape[1],
            0,
            num_layers,
            False,
            False,
        )


class _FlatCopy(torch.autograd.Function):
    """A copy of the weights in one flat buffer; the gradients of the copy are passed to the weights."""

    @staticmethod
    def forward(ctx: Any, cell: Cell, num_layers: int, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        # flatten_weights moves its tensors: pass aliases, so that the inputs stay where they are
        copies = [_alias(w.detach().contiguous()) for w in weights]
        flatten_weights(cell, num_layers, copies)
        return tuple(copies)

    @staticmethod
    def backward(_: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, None, *gradients)


def _alias(w: Tensor) -> Tensor:
    """Another tensor on the same storage; ``w`` must be contiguous."""
    return w.new_empty(0).set_(w.untyped_storage(), w.storage_offset(), w.shape, w.stride())


def _flat_copy(cell: Cell, num_layers: int, weights: Sequence[Tensor]) -> list[Tensor]:
    apply: Callable[..., Any] = _FlatCopy.apply
    return list(apply(cell, num_layers, *weights))


def _single_state_function(cell: Cell) -> Callable[..., Any]:
    """torch's function for a cell whose only state is its output."""
    if cell.torch == "GRU":
        return torch.gru
    return torch.rnn_relu if cell.torch_options.get("nonlinearity") == "relu" else torch.rnn_tanh


def _mode(cell: Cell) -> int:
    """The cuDNN mode of the cell."""
    name = cell.torch or ""
    if name == "RNN":
        name += "_" + str(cell.torch_options.get("nonlinearity", "tanh")).upper()
    mode: int = torch.backends.cudnn.rnn.get_cudnn_mode(name)  # type: ignore[no-untyped-call]
    return mode


def _cudnn_runs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch runs recurrent layers of this dtype on this device with cuDNN."""
    cudnn: Any = torch.backends.cudnn
    if device.type != "cuda" or torch.version.hip is not None or not cudnn.enabled or not cudnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return cudnn.version() >= CUDNN_BFLOAT16 and torch.cuda.get_device_capability(device) >= (8, 0)
    return dtype in (torch.float16, torch.float32, torch.float64)
