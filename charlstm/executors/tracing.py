"""Detects tracing and transforms, under which torch must see each operation and kernels have no data to read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from charlstm.executors.base import Weights

JIT: Any = torch.jit  # is_tracing and TracerWarning are missing in its type stubs


def tracing(weights: Weights, x: Tensor) -> str | None:
    """Why no generated kernel can run under the active trace or transform, in a few words; None if one can."""
    if traced_by_jit():
        return "torch.jit.trace cannot see into it"
    if torch.compiler.is_compiling():
        return "torch.compile and torch.export cannot see into it"
    if transforming():
        return "torch.func and forward-mode differentiation cannot see into it"
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        return "torch.fx cannot see into it"
    if any(type(t).__torch_dispatch__ is not Tensor.__torch_dispatch__ for t in (x, weights.weight_hh)):
        return "its tensors have no data in memory"
    return None


def traced_by_jit() -> bool:
    """Whether ``torch.jit.trace`` is active."""
    is_tracing: bool = JIT.is_tracing()
    return is_tracing


def transforming(*gradients: Tensor) -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is active, or any of the gradients is
    batched (``is_grads_batched=True``)."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return True
    return any(map(torch._C._functorch.is_legacy_batchedtensor, gradients))


@contextmanager
def silent_trace() -> Iterator[None]:
    """Suppress the warnings of ``torch.jit.trace`` for checks of shapes, which a correct trace does not need."""
    if not traced_by_jit():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JIT.TracerWarning)
        yield
