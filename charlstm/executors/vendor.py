"""The recurrent layers that come with torch: oneDNN on the CPU, cuDNN on NVIDIA GPUs."""

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

ONE_HOT_LIMIT = 1024  # symbols up to which one-hot vectors are made; beyond, they would take more memory than the layer
CUDNN_BFLOAT16 = 91300  # the version of cuDNN from which on it has recurrent layers in bfloat16
TORCH_CASTS = ("cpu",)
"""Devices on which torch's own autocast is good for these layers; on CUDA it makes them float16, whatever its type."""


class Vendor:
    """Layers through ``torch.lstm``, ``torch.gru`` or ``torch.rnn_*``. Under ``torch.autocast`` in bfloat16 most have
    their state in bfloat16 too, rounded at every step; it is given back in the type of the weights."""

    name = "vendor"
    devices = None
    automatic = True
    stack_devices = ("cuda",)
    """cuDNN lets one layer begin while another still runs."""

    @property
    def stacks(self) -> StackRunner:
        return self

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        if cell.torch is None:
            return f"torch has no {cell.name}"
        if is_ids(x) and weights.input_size > ONE_HOT_LIMIT:
            return f"it would need one-hot vectors of {weights.input_size} symbols (at most {ONE_HOT_LIMIT})"
        if transforming():
            return "torch has no transforms of its recurrent layers"
        device, low = weights.weight_hh.device, matmul_dtype(weights.weight_hh) == torch.bfloat16
        if low and device.type == "cuda" and not _cudnn_runs(torch.bfloat16, device):
            return "cuDNN has recurrent layers in bfloat16 from version 9.13 on, on GPUs that have bfloat16"
        if device.type in TORCH_CASTS and not tracing(weights, x):
            return cannot_run(cell, device.type, weights.weight_hh.dtype, matmul_dtype(weights.weight_hh))
        return None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, new = self.run_stack(cell, [weights], x, tuple(s.unsqueeze(0) for s in state))
        return y, tuple(s.squeeze(0) for s in new)

    def kept_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:
        """The gates and two vectors of H for each part of the state, as cuDNN does, and the one-hot vectors of ids."""
        return hidden_size * dtype.itemsize * (len(cell.gates) + 2 * len(cell.state)) + 4 * symbols

    def arrange_stack(self, cell: Cell, layers: Sequence[Weights]) -> None:
        if cell.torch is not None:
            flatten_weights(cell, len(layers), flat_weight_list(layers))

    def run_stack(
        self, cell: Cell, layers: Sequence[Weights], x: Tensor, state: State, flat: bool = False
    ) -> tuple[Tensor, State]:
        """Several layers, each on the output of the one below, as one call; each part of the state is [L, B, H].

        ``flat`` says that the weights lie as :func:`flatten_weights` put them; else a copy that lies so is made.
        """
        device, exact = x.device, layers[0].weight_hh.dtype
        as_torch = device.type in TORCH_CASTS
        dtype = exact if as_torch else matmul_dtype(layers[0].weight_hh)
        training = traced_by_jit() or any(needs_grad(weights, x, state) for weights in layers)
        with nullcontext() if as_torch else torch.autocast(device.type, enabled=False):
            x = one_hot(x, layers[0].input_size, dtype) if is_ids(x) else x.to(dtype)
            given = flat_weight_list(layers)
            weights = [w.to(dtype) for w in given]
            if _cudnn_runs(dtype, device) and not (flat and dtype == exact):
                weights = _flat_copy(cell, len(layers), weights)
            first = [s.to(dtype).contiguous() for s in state]
            options = (len(weights) == 4 * len(layers), len(layers), 0.0, training, False, False)
            if cell.torch == "LSTM":
                y, *new = torch.lstm(x, first, weights, *options)
            else:
                y, *new = _single_state_function(cell)(x, first[0], weights, *options)
            return y, tuple(s.to(exact) for s in new)


@cache
def cannot_run(cell: Cell, device: str, dtype: torch.dtype, product: torch.dtype) -> str | None:
    """Why torch's own layer of a cell cannot train here with weights in ``dtype`` and products in ``product``, in a few
    words; None if it can. A small layer takes a step on trial, once per process: what torch's libraries can do depends
    on the processor (oneDNN has no LSTM in bfloat16 on a CPU with AVX2 alone)."""
    cast = product != dtype
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng([]):
            layer = getattr(torch.nn, cell.torch or "")(1, 1, **cell.torch_options, device=device, dtype=dtype)
            with torch.autocast(device, product if cast else None, enabled=cast):
                layer(torch.zeros(1, 1, 1, device=device, dtype=dtype))[0].sum().backward()
    except RuntimeError as error:
        low = str(product).removeprefix("torch.")
        return (
            f"torch cannot run its {cell.torch} in {low} on this {device.upper()} ({str(error).splitlines()[0][:80]})"
        )
    return None


def flat_weight_list(layers: Sequence[Weights]) -> list[Tensor]:
    """The weights as torch's functions take them."""
    fixed = ((w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh) for w in layers)
    return [t for t in chain.from_iterable(fixed) if t is not None]


def flatten_weights(cell: Cell, num_layers: int, weights: Sequence[Tensor]) -> None:
    """Move the weights of a whole stack, whose values stay, into one buffer, in the order in which cuDNN wants them:
    torch would otherwise make such a copy at every call, with a warning. Nothing happens where there is no cuDNN."""
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
    """A copy of weights that lies flat; their gradients are those of the copy."""

    @staticmethod
    def forward(ctx: Any, cell: Cell, num_layers: int, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        # what is moved is not what was given, but other tensors with the same content
        copies = [_alias(w.detach().contiguous()) for w in weights]
        flatten_weights(cell, num_layers, copies)
        return tuple(copies)

    @staticmethod
    def backward(_: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, None, *gradients)


def _alias(w: Tensor) -> Tensor:
    """Another tensor with the content of one that is contiguous."""
    return w.new_empty(0).set_(w.untyped_storage(), w.storage_offset(), w.shape, w.stride())


def _flat_copy(cell: Cell, num_layers: int, weights: Sequence[Tensor]) -> list[Tensor]:
    apply: Callable[..., Any] = _FlatCopy.apply
    return list(apply(cell, num_layers, *weights))


def _single_state_function(cell: Cell) -> Callable[..., Any]:
    """torch's function for a cell whose state is its output."""
    if cell.torch == "GRU":
        return torch.gru
    return torch.rnn_relu if cell.torch_options.get("nonlinearity") == "relu" else torch.rnn_tanh


def _mode(cell: Cell) -> int:
    """The number by which cuDNN knows the cell."""
    name = cell.torch or ""
    if name == "RNN":
        name += "_" + str(cell.torch_options.get("nonlinearity", "tanh")).upper()
    mode: int = torch.backends.cudnn.rnn.get_cudnn_mode(name)  # type: ignore[no-untyped-call]
    return mode


def _cudnn_runs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch hands recurrent layers of this type on this device to cuDNN."""
    cudnn: Any = torch.backends.cudnn
    if device.type != "cuda" or torch.version.hip is not None or not cudnn.enabled or not cudnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return cudnn.version() >= CUDNN_BFLOAT16 and torch.cuda.get_device_capability(device) >= (8, 0)
    return dtype in (torch.float16, torch.float32, torch.float64)
