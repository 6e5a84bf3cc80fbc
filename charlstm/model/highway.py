"""A highway layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CARRY = -2.0  # initial gate bias: most of x passes unchanged at first


class Highway(nn.Module):
    """y = t relu(W x + b) + (1 - t) x with t = sigmoid(W_t x + b_t) (Srivastava, Greff & Schmidhuber 2015).

    ``weight`` [2 N, N] and ``bias`` [2 N] hold W_t and b_t, then W and b; b_t is initialized to -2, b to 0, the weights
    as in torch.nn.Linear. x and y are [..., N], in the dtype of the parameters, also under ``torch.autocast``.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        bound = size**-0.5
        self.weight = nn.Parameter(torch.empty(2 * size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.cat([torch.full((size,), CARRY), torch.zeros(size)]))

    def forward(self, x: Tensor) -> Tensor:
        gate, value = F.linear(x, self.weight, self.bias).to(x.dtype).chunk(2, -1)
        return torch.lerp(x, value.relu(), gate.sigmoid())
