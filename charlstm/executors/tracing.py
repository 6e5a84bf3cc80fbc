"""Whether torch traces or transforms the program: it then has to see each operation, and kernels see no numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from charlstm.executors.base import Weights


def tracing(weights: Weights, x: Tensor) -> str | None:
    """What torch does with a layer on its way, in a few words; None where it simply runs it."""
    if torch.jit.is_tracing():
        return "torch.jit.trace cannot see into it"
    if torch.compiler.is_compiling():
        return "torch.compile and torch.export cannot see into it"
    if transforming():
        return "torch.func and forward-mode differentiation cannot see into it"
    if any(type(t).__torch_dispatch__ is not Tensor.__torch_dispatch__ for t in (x, weights.weight_hh)):
        return "its tensors hold no numbers in memory"
    return None


def transforming() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is on its way."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@contextmanager
def silent_trace() -> Iterator[None]:
    """Around checks of shapes: a trace is right without them, so ``torch.jit.trace`` need not warn of them."""
    if not torch.jit.is_tracing():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
