"""Elementwise and locked dropout, and dropout of symbols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional as F

_part: ContextVar[tuple[slice, int] | None] = ContextVar("part", default=None)


@contextmanager
def part_of_batch(columns: slice, batch_size: int) -> Iterator[None]:
    """Within this context x holds only these columns of a batch of this size. Masks are drawn for the whole batch, so
    that the same elements are dropped as without splitting it."""
    token = _part.set((columns, batch_size))
    try:
        yield
    finally:
        _part.reset(token)


def dropout(x: Tensor, probability: float, kind: str, training: bool) -> Tensor:
    """Zero elements of x [T, B, H] with this probability and scale up the rest, in training only.

    ``elementwise`` draws each element independently (Zaremba, Sutskever & Vinyals 2014); ``locked`` draws one mask
    [1, B, H] for all time steps (Gal & Ghahramani 2016; Merity, Keskar & Socher 2018). The result has the dtype of x.
    """
    if not training or probability == 0:
        return x
    columns, batch_size = _part.get() or (slice(None), x.shape[1])
    if kind == "elementwise":
        if batch_size == x.shape[1]:
            return F.dropout(x, probability)
        mask = F.dropout(x.new_ones(len(x), batch_size, *x.shape[2:]), probability)
        return x * mask[:, columns].contiguous()  # contiguous: autograd then saves these columns only
    keep_probability = 1 - probability
    return (
        x
        * x.new_empty(1, batch_size, *x.shape[2:]).bernoulli_(keep_probability).div_(keep_probability or 1)[:, columns]
    )


def bernoulli(like: Tensor, steps: int, batch: int, size: int, probability: float) -> Tensor:
    """[T, B, size], each element 1 with this probability, else 0; B are the columns of this part of the batch."""
    columns, batch_size = _part.get() or (slice(None), batch)
    return like.new_empty(steps, batch_size, size).bernoulli_(probability)[:, columns]


def dropped_symbols(ids: Tensor, vocabulary_size: int, probability: float) -> Tensor:
    """Which of the V symbols are dropped in each column of ids [T, B], each with this probability: bool [V + 1, B]. "No
    character", V, is not (Gal & Ghahramani 2016, section 4.2)."""
    columns, batch_size = _part.get() or (slice(None), ids.shape[1])
    dropped = torch.rand(vocabulary_size + 1, batch_size, device=ids.device) < probability
    dropped[-1].fill_(False)
    return dropped[:, columns]


def drop_symbols(ids: Tensor, dropped: Tensor) -> Tensor:
    """ids [T, B] with every occurrence of a symbol that is ``dropped`` in its column replaced by "no character"."""
    return ids.masked_fill(dropped.gather(0, ids), len(dropped) - 1)
