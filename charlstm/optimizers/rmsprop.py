"""Tieleman & Hinton 2012, with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.optimizers.base import Groups, is_capturable, optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from charlstm.config import TrainingConfig


@optimizer
def rmsprop(groups: Groups, training: TrainingConfig) -> Optimizer:
    import torch

    capturable = is_capturable(groups)
    return torch.optim.RMSprop(
        groups,
        lr=training.learning_rate,
        alpha=training.alpha,
        momentum=training.momentum,
        capturable=capturable,
        foreach=capturable or None,  # the only implementation that reads the learning rate on the device
    )
