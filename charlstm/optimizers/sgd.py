"""with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.optimizers.base import Groups, is_capturable, optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from charlstm.config import TrainingConfig


@optimizer
def sgd(groups: Groups, training: TrainingConfig) -> Optimizer:
    import torch

    fused = is_capturable(groups) or None  # the only implementation that reads the learning rate on the device
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum, fused=fused)
