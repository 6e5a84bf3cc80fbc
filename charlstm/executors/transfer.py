"""Tensors from the CPU to where the work is done."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(t: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. An NVIDIA GPU fetches it from pinned memory, in its own order of work: nothing waits."""
    if device.type != "cuda" or t.device.type != "cpu":
        return t.to(device)
    return t.pin_memory().to(device, non_blocking=True)
