"""Modes of the whole process, which a test may switch and no other test may inherit."""

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
    """However the block ends, torch's modes are then what they were before."""
    before = _modes()
    try:
        yield
    finally:
        threads, dtype, gradients, deterministic, warn_only, products, layers = before
        if _modes() != before:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cuda.matmul.fp32_precision = products
            torch.backends.cudnn.rnn.fp32_precision = layers


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
