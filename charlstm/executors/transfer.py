"""Copies tensors from the CPU to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(t: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to an NVIDIA GPU from pinned memory and without waiting, on the current stream."""
    if device.type != "cuda" or t.device.type != "cpu":
        return t.to(device)
    return t.pin_memory().to(device, non_blocking=True)
