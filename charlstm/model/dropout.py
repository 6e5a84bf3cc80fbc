"""Dropout, in the two kinds that recurrent networks use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor
from torch.nn import functional as F

_part: ContextVar[tuple[slice, int] | None] = ContextVar("part", default=None)


@contextmanager
def part_of_batch(columns: slice, batch_size: int) -> Iterator[None]:
    """Meanwhile x is only these columns of a batch of this size: masks are drawn for all of it, and have their zeros
    where they had them if it were whole."""
    token = _part.set((columns, batch_size))
    try:
        yield
    finally:
        _part.reset(token)


def dropout(x: Tensor, probability: float, kind: str, training: bool) -> Tensor:
    """Zero a share of x [T, B, H] and scale up the rest, in training only.

    ``elementwise`` draws every element by itself (Zaremba, Sutskever & Vinyals 2014); ``locked`` draws one mask
    [1, B, H] for all time steps (Gal & Ghahramani 2016; Merity, Keskar & Socher 2018). The result has x's type.
    """
    if not training or probability == 0:
        return x
    columns, batch_size = _part.get() or (slice(None), x.shape[1])
    if kind == "elementwise":
        if batch_size == x.shape[1]:
            return F.dropout(x, probability)
        mask = F.dropout(x.new_ones(len(x), batch_size, *x.shape[2:]), probability)
        return x * mask[:, columns].contiguous()  # what autograd keeps is then no more than these columns
    kept = 1 - probability
    return x * x.new_empty(1, batch_size, *x.shape[2:]).bernoulli_(kept).div_(kept or 1)[:, columns]
