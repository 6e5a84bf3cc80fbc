"""Activation regularization (Merity, McCann & Socher 2017; Merity, Keskar & Socher 2018, section 4), and resets of the
carried state (Melis, Kocisky & Blunsom 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.executors.transfer import to_device
from charlstm.text.streams import IGNORE, Batch


class ActivationRegularization:
    """alpha * mean(d^2) + beta * mean((y_t - y_(t-1))^2): AR and TAR, with y the outputs of the recurrent layers and d
    what the head reads, y after dropout.

    The means are over units and over the positions whose targets count in the loss, TAR's over pairs of successive ones
    in the same chunk.
    """

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha, self.beta = alpha, beta

    def counts(self, targets: Tensor) -> Tensor | None:
        """The numbers of positions and of pairs in a batch with ``targets`` [T, B], each at least 1: [2]. None if there
        is no regularization."""
        if not (self.alpha or self.beta):
            return None
        counted = targets != IGNORE
        return torch.stack([counted.sum(), (counted[1:] & counted[:-1]).sum()]).clamp(min=1)

    def add_gradient(self, loss: Tensor, y: Tensor, dropped: Tensor, targets: Tensor, counts: Tensor | None) -> Tensor:
        """A tensor with the value of ``loss`` and the gradient of the loss plus the regularization.

        y and ``dropped`` [T, B, H]; targets [T, B]. ``counts``: of the batch of which these are columns, so that the
        gradients of several processes add up to that of the batch.
        """
        if counts is None:
            return loss
        counted, values = targets != IGNORE, counts * y.shape[-1]
        with torch.autocast(y.device.type, enabled=False):
            activation = _sum_squares(dropped.to(loss.dtype), counted) / values[0]
            y = y.to(loss.dtype)
            change = _sum_squares(y[1:] - y[:-1], counted[1:] & counted[:-1]) / values[1]
            penalty = self.alpha * activation + self.beta * change
        return loss + (penalty - penalty.detach())


def _sum_squares(x: Tensor, counted: Tensor) -> Tensor:
    """The sum of the squares of x [T, B, H] over the positions that are ``counted`` [T, B]."""
    return torch.sum(x.square().sum(-1) * counted)


def state_before(batch: Batch, carried: State, columns: slice, reset_probability: float) -> State:
    """The state before a batch: the carried one, zero for the streams in which a new sequence begins, and for others
    with this probability.

    ``carried`` has the ``columns`` of the batch. Draws for all streams, from torch's CPU generator; nothing for the
    probability 0.
    """
    reset: Tensor | None = None
    if reset_probability:
        reset = torch.rand(batch.targets.shape[1]) < reset_probability
    if batch.reset_state:
        return tuple(torch.zeros_like(part) for part in carried)
    device = carried[0].device
    for rows in (batch.fresh, reset):
        if rows is not None:
            zeroed = to_device(rows[columns], device)[:, None]
            carried = tuple(part.masked_fill(zeroed, 0) for part in carried)
    return carried
