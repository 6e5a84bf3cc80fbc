"""Dropout on recurrent matrices."""

from __future__ import annotations

import torch
from torch import Tensor


class WeightDrop:
    """DropConnect on recurrent matrices (Wan et al. 2013; Merity, Keskar & Socher 2018, section 2).

    Each element is zero with this probability, and the others are scaled up: one mask for all streams and time steps of
    a forward pass. The gradient of the result flows through the mask to the matrix. As the matrix,
    not the loop, is changed, every executor runs at its full speed, and each makes what it packs from the result.

    ``masks`` has those drawn last, by the name of the matrix.
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.masks: dict[str, Tensor] = {}

    def __call__(self, name: str, matrix: Tensor) -> Tensor:
        """The matrix with elements dropped; each of several processes draws the same mask."""
        retained = 1 - self.probability
        self.masks[name] = mask = torch.empty_like(matrix).bernoulli_(retained).div_(retained)
        return matrix * mask
