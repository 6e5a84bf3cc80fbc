"""The linear layer over the vocabulary and its loss, computed in chunks of rows.

With logits l = W y + b and p = softmax(l), the loss of a target t is -ln p_t, and its gradient with respect to l is
p - onehot(t). Label smoothing by epsilon replaces onehot(t) in the gradient by (1 - epsilon) onehot(t) + epsilon / V.
If the logits of all rows would take much memory they never exist at the same time: each chunk of rows adds to the loss
and to every gradient and is freed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.executors.autograd import gradients_with_graph
from charlstm.executors.base import matmul_dtype

LOGITS = 1 << 22  # logits per chunk on the CPU, 16 MB: smaller matmuls were slower, larger ones hardly faster
LOGITS_ON_GPU = 1 << 26  # 256 MB: each chunk costs a dozen kernel launches
ALIGNMENT = 16  # symbols: with rows of logits aligned to cache lines, float32 matmuls were up to 1.7 times as fast
ALIGNED = ("cuda",)
"""Devices on which logits are aligned without chunking too, as cuBLAS recommends for bfloat16. The gain has not been
measured."""


def mean_nats(
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    ignore_index: int = -100,
    count: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean -ln p of the targets in nats: ``F.cross_entropy`` of ``F.linear(y, weight, bias)``, with its gradients.

    y [T, B, H], weight [V, H], bias [V], targets [T, B]; targets equal to ``ignore_index`` do not count, and if none
    counts the mean is NaN. Under ``torch.autocast`` the matmuls run in its dtype; logits, softmax and sums stay in the
    dtype of the weight. With ``count`` the sum is divided by it instead of by the number of targets that count here:
    the means of the parts of a batch, each with the count of the full batch, add up to the mean of the full batch.
    With ``label_smoothing`` the gradients are those of ``F.cross_entropy`` with it (Szegedy et al. 2016, section 7);
    the value is still the mean -ln p, in plain nats.

    If all logits fit into one chunk and labels are not smoothed, torch's operations are used, on the CPU 0.1 ms faster
    at 65 symbols. Otherwise the gradients are computed in the forward pass and scaled by the incoming gradient in the
    backward pass.
    """
    vocabulary_size, hidden_size = weight.shape
    chunk_logits = logits_held(targets.numel(), vocabulary_size, hidden_size, y.device)
    if chunk_logits == targets.numel() * vocabulary_size and not label_smoothing:
        if y.device.type in ALIGNED:
            weight, bias = _aligned(weight, bias)
        logits = F.linear(y, weight, bias).to(weight.dtype)
        flat, flat_targets = logits.flatten(0, 1), targets.flatten()
        if count is None:
            return F.cross_entropy(flat, flat_targets, ignore_index=ignore_index)
        return F.cross_entropy(flat, flat_targets, ignore_index=ignore_index, reduction="sum") / count
    is_counted = targets != ignore_index
    apply: Callable[..., Tensor] = _MeanNats.apply
    dtype = matmul_dtype(weight)
    with torch.autocast(y.device.type, enabled=False):
        row_weights = is_counted.to(weight.dtype) / (is_counted.sum() if count is None else count)
        symbols = targets.masked_fill(~is_counted, 0)
        return apply(y, weight, bias, symbols, row_weights, dtype, chunk_logits, label_smoothing)


def logits_held(rows: int, vocabulary_size: int, hidden_size: int, device: torch.device) -> int:
    """Number of logits that :func:`mean_nats` has in memory at a time for ``rows`` rows: all, unless they are more than
    ``LOGITS`` and more than the elements of y."""
    limit = _max_logits(device)
    return rows * vocabulary_size if rows * vocabulary_size <= max(limit, rows * hidden_size) else limit


@torch.no_grad()
def target_nats(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target, [T, B]; no gradients. Arguments as for :func:`mean_nats`, except that every target
    counts."""
    flat, flat_targets = y.flatten(0, 1), targets.flatten()
    nats = flat.new_empty(len(flat))
    weight, bias = _aligned(weight, bias)
    for rows in _row_chunks(flat, weight, _max_logits(y.device)):
        nats[rows] = F.cross_entropy(_logits(flat[rows], weight, bias), flat_targets[rows], reduction="none")
    return nats.view(targets.shape)


@torch.no_grad()
def nats_and_hits(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target, and 1 if it is the most probable symbol else 0, [T, B, 2]; no gradients. The arguments are
    those of :func:`target_nats`."""
    flat, flat_targets = y.flatten(0, 1), targets.reshape(-1, 1)
    stats = flat.new_empty(len(flat), 2)
    weight, bias = _aligned(weight, bias)
    for rows in _row_chunks(flat, weight, _max_logits(y.device)):
        log_p, target = _logits(flat[rows], weight, bias).log_softmax(1), flat_targets[rows]
        stats[rows] = torch.cat([-log_p.gather(1, target), log_p.argmax(1, keepdim=True) == target], 1)
    return stats.view(*targets.shape, 2)


class _MeanNats(torch.autograd.Function):
    """The sum of ``row_weights`` * -ln p, for targets that are all symbols, with the gradients of smoothed labels."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        row_weights: Tensor,
        dtype: torch.dtype,
        chunk_logits: int,
        label_smoothing: float,
    ) -> Tensor:
        ctx.dtype, ctx.label_smoothing, inputs = dtype, label_smoothing, (y, weight, bias, targets, row_weights)
        vocabulary_size, flat = len(weight), y.flatten(0, 1).to(dtype)
        weight, bias = _aligned(weight.to(dtype), bias)
        total = bias.new_zeros(())
        d_flat = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        d_weight, d_bias = torch.zeros_like(weight, dtype=bias.dtype), torch.zeros_like(bias)
        targets, row_weights = targets.reshape(-1, 1), row_weights.reshape(-1, 1)
        for rows in _row_chunks(flat, weight, chunk_logits):
            arguments = (flat[rows], weight, bias, targets[rows], row_weights[rows])
            nats, d_logits = _loss(*arguments, label_smoothing, vocabulary_size)
            total += nats
            d_bias += d_logits.sum(0)
            d_logits_cast = d_logits.to(dtype)
            if d_flat is not None:
                torch.mm(d_logits_cast, weight, out=d_flat[rows])
            if dtype == bias.dtype:
                d_weight.addmm_(d_logits_cast.t(), flat[rows])
            else:
                d_weight += d_logits_cast.t() @ flat[rows]
        d_y = None if d_flat is None else d_flat.view(y.shape)
        ctx.save_for_backward(d_y, d_weight[:vocabulary_size], d_bias[:vocabulary_size], *inputs)
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        gradients, inputs = saved[:3], saved[3:]
        if torch.is_grad_enabled():  # create_graph: all logits then exist at the same time
            differentiable = partial(_differentiable_loss, dtype=ctx.dtype, label_smoothing=ctx.label_smoothing)
            gradients = gradients_with_graph(differentiable, inputs, ctx.needs_input_grad[:5], (d_total,))
            return (*gradients, None, None, None)
        scaled = (d if d is None else d * d_total.to(d.dtype) for d in gradients)
        return (*scaled, None, None, None, None, None)


def _differentiable_loss(
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    row_weights: Tensor,
    dtype: torch.dtype,
    label_smoothing: float,
) -> tuple[Tensor]:
    """The sum of ``row_weights`` * the loss with smoothed labels, by operations that can be differentiated twice."""
    logits, smoothing = F.linear(y.to(dtype), weight.to(dtype)).to(bias.dtype) + bias, label_smoothing
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=smoothing)
    return (torch.sum(loss * row_weights.flatten()),)


def _loss(
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    row_weights: Tensor,
    label_smoothing: float,
    vocabulary_size: int,
) -> tuple[Tensor, Tensor]:
    """The sum of ``row_weights`` * -ln p over the rows, and the gradient of this loss with smoothed labels with respect
    to the logits. With -ln p_t = max l - l_t - ln max p the exponentials are computed once."""
    logits = _logits(y, weight, bias)
    p = torch.softmax(logits, 1)
    nats = logits.amax(1, keepdim=True) - logits.gather(1, targets) - p.amax(1, keepdim=True).log()
    d_logits = p.scatter_add_(1, targets, torch.full_like(nats, label_smoothing - 1))
    if label_smoothing:
        d_logits -= label_smoothing / vocabulary_size
    return torch.sum(nats * row_weights), d_logits.mul_(row_weights)


def _logits(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[N, V] in the dtype of the bias."""
    if y.dtype == bias.dtype:
        return torch.addmm(bias, y, weight.t())
    return (y @ weight.t()).to(bias.dtype).add_(bias)  # adding two dtypes at once took up to twice as long


def _aligned(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias padded to a multiple of ``ALIGNMENT`` symbols; p of the padding is zero."""
    padding = -len(weight) % ALIGNMENT
    return F.pad(weight, (0, 0, 0, padding)), F.pad(bias, (0, padding), value=-math.inf)


def _row_chunks(y: Tensor, weight: Tensor, chunk_logits: int) -> Iterator[slice]:
    """The rows of y [N, H] in chunks of about ``chunk_logits`` logits."""
    rows = max(1, chunk_logits // len(weight))
    return (slice(first, first + rows) for first in range(0, len(y), rows))


def _max_logits(device: torch.device) -> int:
    return LOGITS if device.type == "cpu" else LOGITS_ON_GPU
