"""Global modes of torch, which no test may leave changed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def waiting_refused() -> Iterator[None]:
    """Inside the block torch raises where the CPU waits for the GPU."""
    try:
        _refuse_waiting("error")
        yield
    finally:
        _refuse_waiting("default")


def _refuse_waiting(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch: the mode is a prototype
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def put_back() -> Iterator[None]:
    """Restore the modes of torch at the end of the block."""
    before = _modes()
    try:
        yield
    finally:
        threads, dtype, grad_enabled, deterministic, warn_only, matmul, rnn = before
        if _modes() != before:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad_enabled)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cuda.matmul.fp32_precision = matmul
            torch.backends.cudnn.rnn.fp32_precision = rnn


def _modes() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.rnn.fp32_precision,
    )
