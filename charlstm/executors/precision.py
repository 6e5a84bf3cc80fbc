"""Sets the precision of float32 matmuls on an NVIDIA GPU, and whether the CPU computes with subnormal numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def float32_matmul_precision(device: torch.device, tf32: bool) -> Iterator[None]:
    """Within the block, float32 matmuls on an NVIDIA GPU round their operands to TF32 (10 bits of mantissa instead of
    23), or use them unrounded; sums are float32 in either case. Other devices are not affected.

    By default torch rounds in cuDNN (recurrent layers and convolutions) but not in plain matmuls. Inside the block
    torch's older switches, such as ``allow_tf32``, cannot be read.
    """
    if device.type != "cuda":
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    recurrent: Any = torch.backends.cudnn.rnn
    before = matmul.fp32_precision, recurrent.fp32_precision
    try:
        matmul.fp32_precision = recurrent.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        matmul.fp32_precision, recurrent.fp32_precision = before


@contextmanager
def flush_subnormals() -> Iterator[None]:
    """Within the block, the CPU takes subnormal numbers (in float32 those below 1.2e-38) for zeros, if it can.

    The gradients of a unit with saturated gates become that small, and a matmul with one subnormal number in twenty
    took eight times as long (Cascade Lake, MKL).
    """
    before = _flushes_subnormals()
    try:
        torch.set_flush_denormal(True)
        yield
    finally:
        torch.set_flush_denormal(before)


def _flushes_subnormals() -> bool:
    smallest = sys.float_info.min
    return smallest / 2 == 0.0
