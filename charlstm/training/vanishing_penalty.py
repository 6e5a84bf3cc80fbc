"""A penalty on gradients that vanish or explode in backpropagation through time (Pascanu, Mikolov & Bengio 2013, "On
the difficulty of training recurrent neural networks", section 3.3).

For the tanh network h_k = tanh(.. + U h_{k-1}) let d_k = dE/dh_k be the total gradient at h_k, from the prediction at k
and from later ones. Its part that reaches h_{k-1} is v_k = U^T ((1 - h_k^2) d_k). The penalty keeps its norm constant
in the directions in which gradients flow (equation 9):

    Omega = mean over k and b of (|v_k| / |d_k| - 1)^2

and its gradient with respect to U treats h_k and d_k as constants (equation 10):

    dOmega/dU = mean of 2 (r - 1) / (|v| |d|) ((1 - h^2) d) v^T        with r = |v| / |d|

The paper sums over k. The mean follows the authors' code, over the positions where |d_k| is at least 1e-10; below that,
and past the end of a document, no gradient is left. That code compares the squared norms; near r = 1 its penalty of
weight a equals this one of weight 4 a.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlstm.distributed import SINGLE_PROCESS, ProcessGroup
from charlstm.model import RecurrentStack

MIN_NORM = 1e-10
"""Gradients with a smaller norm are ignored."""


class VanishingPenalty:
    """Adds the gradient of ``weight * Omega`` with respect to the recurrent matrix to that of the loss.

    ``recurrent`` is a stack of one layer of the tanh cell. A forward hook stores the outputs of the training passes
    until :meth:`add_gradient`. Omega is the mean over their chunks: no gradient comes from later chunks. With several
    processes, each has its columns of the batch, and all get the gradient of Omega over the whole batch. With weight
    drop, U in Omega is the matrix of each training pass, with elements dropped. With weight 0 no hook is registered.
    """

    def __init__(self, recurrent: RecurrentStack, weight: float, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self._matrix, self._weight, self._group = recurrent.get_parameter("weight_hh_l0"), weight, group
        self._masks = recurrent.weight_drop.masks
        self._outputs: list[tuple[Tensor, Tensor | None]] = []  # of each pass, and its mask of U
        if weight:
            recurrent.register_forward_hook(self._store_outputs)

    def _store_outputs(self, _recurrent: nn.Module, _inputs: object, outputs: tuple[Tensor, object]) -> None:
        y, _ = outputs
        if y.requires_grad:
            y.retain_grad()
            self._outputs.append((y, self._masks.get("_l0")))

    def clear(self) -> None:
        """Call before the first training pass of a step."""
        self._outputs = []

    def add_gradient(self) -> None:
        """Call after the backward passes of a step and before clipping."""
        matrix = self._matrix
        for y, mask in self._outputs:
            assert y.grad is not None
            assert matrix.grad is not None
            h, d_outputs, used = y.detach().to(matrix.dtype), y.grad.to(matrix.dtype), matrix.detach()
            gradient = penalty_gradient(used if mask is None else used * mask, h, d_outputs, self._group)
            gradient = gradient if mask is None else gradient * mask
            matrix.grad.add_(gradient, alpha=self._weight / len(self._outputs))
        self.clear()


@torch.no_grad()
def penalty_gradient(matrix: Tensor, h: Tensor, d_outputs: Tensor, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """dOmega/dU, [H, H].

    Args:
        matrix: U, [H, H].
        h: h_1 .. h_T, [T, B, H].
        d_outputs: the part of dE/dh_k that comes from the prediction at k itself, [T, B, H].
        group: the processes that hold the columns of the batch; the mean is over all of them.
    """
    slope = 1 - h * h
    arriving, leaving = d_outputs.clone(), torch.empty_like(h)
    for k in range(len(h) - 1, -1, -1):
        torch.mm(slope[k] * arriving[k], matrix, out=leaving[k])
        if k:
            arriving[k - 1] += leaving[k]
    d, v = arriving.norm(dim=-1, keepdim=True), leaving.norm(dim=-1, keepdim=True)
    counted = d >= MIN_NORM
    d, tiny = d.clamp(min=MIN_NORM), torch.finfo(v.dtype).tiny
    factor = (2 * (v / d - 1)).masked_fill(~counted, 0) / group.all_reduce_sum(counted.sum()).clamp(min=1)
    gradient: Tensor = (slope * arriving / d).flatten(0, 1).t() @ (factor * leaving / v.clamp(min=tiny)).flatten(0, 1)
    return group.all_reduce_sum(gradient)
