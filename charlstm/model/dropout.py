"""Dropout, in the two kinds that recurrent networks use."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def dropout(x: Tensor, probability: float, kind: str, training: bool) -> Tensor:
    """Zero a share of x [T, B, H] and scale up the rest, in training only.

    ``elementwise`` draws every element by itself (Zaremba, Sutskever & Vinyals 2014); ``locked`` draws one mask
    [1, B, H] for all time steps (Gal & Ghahramani 2016; Merity, Keskar & Socher 2018). The result has x's type.
    """
    if not training or probability == 0:
        return x
    if kind == "elementwise":
        return F.dropout(x, probability)
    kept = 1 - probability
    return x * x.new_empty(1, *x.shape[1:]).bernoulli_(kept).div_(kept or 1)
