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


def rows_to_reset(batch: Batch, reset_probability: float, device: torch.device) -> Tensor | None:
    """The rows before which the carried state is replaced by zeros, bool [B] on the device: those in which a new
    sequence begins, and others with this probability. None: no row.

    Draws for all rows, from torch's CPU generator; nothing for the probability 0.
    """
    rows = None if batch.fresh is None else to_device(batch.fresh, device)
    if reset_probability:
        drawn = to_device(torch.rand(batch.targets.shape[1]) < reset_probability, device)
        rows = drawn if rows is None else rows | drawn
    return torch.ones(batch.targets.shape[1], dtype=torch.bool, device=device) if batch.reset_state else rows


def state_after_reset(carried: State, rows: Tensor | None) -> State:
    """The carried state [L, B, H] with zeros in these rows, bool [B]."""
    return carried if rows is None else tuple(part.masked_fill(rows[:, None], 0) for part in carried)
