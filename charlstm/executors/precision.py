"""How an NVIDIA GPU multiplies float32 matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_products(device: torch.device, rounded: bool) -> Iterator[None]:
    """While the block lasts, products of float32 matrices on an NVIDIA GPU are made from operands rounded to TF32 (10
    bits after the point, where float32 has 23), several times as fast, or from all their bits.

    Left alone, torch rounds in cuDNN's recurrent layers and nowhere else. Other devices are left as they are. Sums are
    float32 in either case.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        _set("high" if rounded else "highest", rounded)
        yield
    finally:
        _set(*before)


def _set(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
