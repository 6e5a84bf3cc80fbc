"""A penalty on gradients that vanish or grow on their way back through time (Pascanu, Mikolov & Bengio 2013, "On the
difficulty of training recurrent neural networks", section 3.3).

For the tanh network h_k = tanh(.. + U h_{k-1}) let d_k = dE/dh_k be all of the gradient that arrives at h_k, from its
own prediction and from later ones. What of it goes on to h_{k-1} is v_k = U^T ((1 - h_k^2) d_k). The penalty asks that
it neither shrinks nor grows, for the directions in which gradients do flow (equation 9):

    Omega = mean over k and b of (|v_k| / |d_k| - 1)^2

and its gradient by U takes h_k and d_k as they are (equation 10):

    dOmega/dU = mean of 2 (r - 1) / (|v| |d|) ((1 - h^2) d) v^T        with r = |v| / |d|

The paper sums over k. The mean is that of the authors' code, over the places where |d_k| is at least 1e-10: beyond, and
past the end of a document, no gradient is left to be kept. That code compares the squares of the two norms; near r = 1
its penalty of weight a is this one of weight 4 a.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlstm.distributed import SINGLE_PROCESS, ProcessGroup

BOUND = 1e-10
"""Gradients shorter than this are not looked at."""


class VanishingPenalty:
    """Adds the gradient of ``weight`` Omega by the recurrent matrix to that of the loss.

    ``recurrent`` is a stack of one layer of the tanh cell. Its outputs of the pass that the loss is made of are kept
    until :meth:`add_gradient`. Of a text cut into chunks, Omega is that of the chunk: nothing comes from later ones.
    Each process of a team has its columns of the batch, and all get the gradient of the whole batch's Omega. With the
    weight 0 there is nothing to it.
    """

    def __init__(self, recurrent: nn.Module, weight: float, team: ProcessGroup = SINGLE_PROCESS) -> None:
        self._matrix, self._weight, self._team = recurrent.get_parameter("weight_hh_l0"), weight, team
        self._outputs: Tensor | None = None
        if weight:
            recurrent.register_forward_hook(self._keep)

    def _keep(self, _recurrent: nn.Module, _inputs: object, outputs: tuple[Tensor, object]) -> None:
        y, _ = outputs
        if y.requires_grad:
            y.retain_grad()
            self._outputs = y

    def add_gradient(self) -> None:
        """Call between the loss's ``backward`` and the clipping."""
        if self._outputs is None:
            return
        y, matrix = self._outputs, self._matrix
        assert y.grad is not None
        assert matrix.grad is not None
        h, d_outputs = y.detach().to(matrix.dtype), y.grad.to(matrix.dtype)
        found = penalty_gradient(matrix.detach(), h, d_outputs, self._team)
        matrix.grad.add_(found, alpha=self._weight)
        self._outputs = None


@torch.no_grad()
def penalty_gradient(matrix: Tensor, h: Tensor, d_outputs: Tensor, team: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """dOmega/dU, [H, H].

    Args:
        matrix: U, [H, H].
        h: h_1 .. h_T, [T, B, H].
        d_outputs: dE/dh_k as far as it comes from the prediction at k itself, [T, B, H].
        team: of the processes with the columns of the batch; the mean is over all of them.
    """
    slope = 1 - h * h
    arriving, leaving = d_outputs.clone(), torch.empty_like(h)
    for k in range(len(h) - 1, -1, -1):
        torch.mm(slope[k] * arriving[k], matrix, out=leaving[k])
        if k:
            arriving[k - 1] += leaving[k]
    d, v = arriving.norm(dim=-1, keepdim=True), leaving.norm(dim=-1, keepdim=True)
    counted = d >= BOUND
    d, tiny = d.clamp(min=BOUND), torch.finfo(v.dtype).tiny
    factor = torch.where(counted, 2 * (v / d - 1), 0) / team.all_reduce_sum(counted.sum()).clamp(min=1)
    found: Tensor = (slope * arriving / d).flatten(0, 1).t() @ (factor * leaving / v.clamp(min=tiny)).flatten(0, 1)
    return team.all_reduce_sum(found)
