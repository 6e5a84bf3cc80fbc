"""Loshchilov & Hutter 2019, with torch's betas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.optimizers.base import Groups, is_capturable, optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from charlstm.config import TrainingConfig


@optimizer
def adamw(groups: Groups, training: TrainingConfig) -> Optimizer:
    import torch

    device = next(p.device for group in groups for p in group["params"])
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=fused, capturable=is_capturable(groups))
