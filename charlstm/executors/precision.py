"""How an NVIDIA GPU multiplies float32 matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def float32_products(device: torch.device, rounded: bool) -> Iterator[None]:
    """While the block lasts, products of float32 matrices on an NVIDIA GPU are made from operands rounded to TF32 (10
    bits after the point, where float32 has 23), as its matrix units take them, or from all their bits.

    Left alone, torch rounds in cuDNN, in recurrent layers as in convolutions, and not in plain products. Other devices
    are left as they are. Sums are float32 in either case. Inside the block torch's older switches for products, such as
    ``allow_tf32``, cannot be read.
    """
    if device.type != "cuda":
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    recurrent: Any = torch.backends.cudnn.rnn
    before = matmul.fp32_precision, recurrent.fp32_precision
    try:
        matmul.fp32_precision = recurrent.fp32_precision = "tf32" if rounded else "ieee"
        yield
    finally:
        matmul.fp32_precision, recurrent.fp32_precision = before
