"""The linear layer over the vocabulary and its loss in one pass, some rows at a time.

With logits l = W y + b and p = softmax(l), the loss of a target t is -ln p_t, and its gradient by l is p less one at t.
Where the logits of all rows would take much memory they are never held together: each chunk of rows gives its share of
the loss and of every gradient and is forgotten.
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

LOGITS = 1 << 22  # logits held at a time on the CPU, 16 MB: smaller products were slower, larger ones hardly faster
LOGITS_ON_GPU = 1 << 26  # 256 MB: there each chunk costs a dozen launches
ALIGNMENT = 16  # symbols: where rows of logits begin on cache lines, float32 products were up to 1.7 times as fast
ALIGNED = ("cuda",)
"""Devices on which all logits held together are aligned too: cuBLAS asks for it in bfloat16. What it gains has not been
measured."""


def mean_nats(
    y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignore_index: int = -100, count: int | None = None
) -> Tensor:
    """Mean -ln p of the targets in nats: ``F.cross_entropy`` of ``F.linear(y, weight, bias)``, with its gradients.

    y [T, B, H], weight [V, H], bias [V], targets [T, B]; targets equal to ``ignore_index`` do not count, and if none
    counts the mean is not a number. Under ``torch.autocast`` the products are made in its type; logits, softmax and
    sums stay in the type of the weight. With ``count`` the sum is divided by it, and not by how many count here: the
    means of the parts of a batch, each with the count of the whole, add up to that of the whole.

    Where all logits are held together, torch's own operations do it, on the CPU 0.1 ms faster at 65 symbols. Else the
    gradients are made along with the loss, and scaled by the incoming gradient later.
    """
    symbols, units = weight.shape
    held = logits_held(targets.numel(), symbols, units, y.device)
    if held == targets.numel() * symbols:
        if y.device.type in ALIGNED:
            weight, bias = _aligned(weight, bias)
        logits = F.linear(y, weight, bias).to(weight.dtype)
        flat, flat_targets = logits.flatten(0, 1), targets.flatten()
        if count is None:
            return F.cross_entropy(flat, flat_targets, ignore_index=ignore_index)
        return F.cross_entropy(flat, flat_targets, ignore_index=ignore_index, reduction="sum") / count
    counted = targets != ignore_index
    apply: Callable[..., Tensor] = _MeanNats.apply
    dtype = matmul_dtype(weight)
    with torch.autocast(y.device.type, enabled=False):
        share = counted.to(weight.dtype) / (counted.sum() if count is None else count)
        return apply(y, weight, bias, targets.where(counted, 0), share, dtype, held)


def logits_held(rows: int, symbols: int, units: int, device: torch.device) -> int:
    """How many of the logits of so many rows :func:`mean_nats` holds at a time: all, unless they are more than
    ``LOGITS`` and more than the numbers that they are made of."""
    most = _most_logits(device)
    return rows * symbols if rows * symbols <= max(most, rows * units) else most


@torch.no_grad()
def target_nats(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target, [T, B]; no gradients. Arguments as for :func:`mean_nats`, but that every target counts."""
    flat, flat_targets = y.flatten(0, 1), targets.flatten()
    found = flat.new_empty(len(flat))
    weight, bias = _aligned(weight, bias)
    for part in _parts(flat, weight, _most_logits(y.device)):
        found[part] = F.cross_entropy(_logits(flat[part], weight, bias), flat_targets[part], reduction="none")
    return found.view(targets.shape)


@torch.no_grad()
def token_stats(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, symbols: Tensor) -> Tensor:
    """-ln p of each target, 1 or 0 for whether it is the most probable symbol, and -ln p of each of the symbols [K],
    all in one: [T, B, 2 + K]; no gradients. Other arguments as for :func:`target_nats`."""
    flat, flat_targets = y.flatten(0, 1), targets.reshape(-1, 1)
    found = flat.new_empty(len(flat), 2 + len(symbols))
    weight, bias = _aligned(weight, bias)
    for part in _parts(flat, weight, _most_logits(y.device)):
        log_p, target = _logits(flat[part], weight, bias).log_softmax(1), flat_targets[part]
        right = log_p.argmax(1, keepdim=True) == target
        found[part] = torch.cat([-log_p.gather(1, target), right, -log_p[:, symbols]], 1)
    return found.view(*targets.shape, -1)


class _MeanNats(torch.autograd.Function):
    """The sum of ``share`` -ln p, for targets that are all symbols."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, share: Tensor, dtype: torch.dtype, held: int
    ) -> Tensor:
        ctx.dtype, inputs = dtype, (y, weight, bias, targets, share)
        symbols, flat = len(weight), y.flatten(0, 1).to(dtype)
        weight, bias = _aligned(weight.to(dtype), bias)
        total = bias.new_zeros(())
        d_flat = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        d_weight, d_bias = torch.zeros_like(weight, dtype=bias.dtype), torch.zeros_like(bias)
        targets, share = targets.reshape(-1, 1), share.reshape(-1, 1)
        for part in _parts(flat, weight, held):
            nats, d_logits = _loss(flat[part], weight, bias, targets[part], share[part])
            total += nats
            d_bias += d_logits.sum(0)
            low = d_logits.to(dtype)
            if d_flat is not None:
                torch.mm(low, weight, out=d_flat[part])
            if dtype == bias.dtype:
                d_weight.addmm_(low.t(), flat[part])
            else:
                d_weight += low.t() @ flat[part]
        d_y = None if d_flat is None else d_flat.view(y.shape)
        ctx.save_for_backward(d_y, d_weight[:symbols], d_bias[:symbols], *inputs)
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        gradients, inputs = saved[:3], saved[3:]
        if torch.is_grad_enabled():  # a graph of the gradients is asked for: all logits are then held together
            exact = partial(_exact, dtype=ctx.dtype)
            return (*gradients_with_graph(exact, inputs, ctx.needs_input_grad[:5], (d_total,)), None, None)
        scaled = (d if d is None else d * d_total.to(d.dtype) for d in gradients)
        return (*scaled, None, None, None, None)


def _exact(
    y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, share: Tensor, dtype: torch.dtype
) -> tuple[Tensor]:
    """The sum of ``share`` -ln p by operations that can be differentiated twice."""
    logits = F.linear(y.to(dtype), weight.to(dtype)).to(bias.dtype) + bias
    return (torch.sum(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none") * share.flatten()),)


def _loss(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """``share`` -ln p summed over the rows, and its gradient by the logits. -ln p_t = max l - l_t - ln max p, so that
    the exponentials are taken once."""
    logits = _logits(y, weight, bias)
    p = torch.softmax(logits, 1)
    nats = logits.amax(1, keepdim=True) - logits.gather(1, targets) - p.amax(1, keepdim=True).log()
    return torch.sum(nats * share), p.scatter_add_(1, targets, torch.full_like(nats, -1)).mul_(share)


def _logits(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[N, V] in the type of the bias."""
    if y.dtype == bias.dtype:
        return torch.addmm(bias, y, weight.t())
    return (y @ weight.t()).to(bias.dtype).add_(bias)  # adding two types at once took up to twice as long


def _aligned(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias with symbols added up to a multiple of ``ALIGNMENT``, whose p is zero."""
    added = -len(weight) % ALIGNMENT
    return F.pad(weight, (0, 0, 0, added)), F.pad(bias, (0, added), value=-math.inf)


def _parts(y: Tensor, weight: Tensor, held: int) -> Iterator[slice]:
    """The rows of y [N, H] in chunks of about ``held`` logits."""
    rows = max(1, held // len(weight))
    return (slice(first, first + rows) for first in range(0, len(y), rows))


def _most_logits(device: torch.device) -> int:
    return LOGITS if device.type == "cpu" else LOGITS_ON_GPU
