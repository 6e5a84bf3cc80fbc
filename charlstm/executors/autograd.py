"""Calls the autograd functions of the executors and provides their second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.executors.base import State, Weights, matmul_dtype, needs_grad
from charlstm.executors.reference import Reference
from charlstm.executors.tracing import tracing, transforming

Gradients = tuple[Tensor | None, ...]


def apply_autograd(
    function: type[torch.autograd.Function], cell: Cell, weights: Weights, x: Tensor, state: State
) -> tuple[Tensor, State]:
    """Compute y and the last state by an autograd function of (cell, compute dtype, whether any input requires a
    gradient, x, W, U, both biases, the cell's per-unit parameters, the initial state), with autocast disabled.

    ``reference`` runs instead if torch traces or transforms the operations, and for an empty batch or sequence.
    """
    if tracing(weights, x) or 0 in x.shape[:2]:
        return Reference().run(cell, weights, x, state)
    matrices_and_biases = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    cell_parameters = [weights.parameters[name] for name in cell.parameters]
    apply: Callable[..., Any] = function.apply
    dtype, training = matmul_dtype(weights.weight_hh), needs_grad(weights, x, state)
    with torch.autocast(x.device.type, enabled=False):
        y, *new = apply(cell, dtype, training, x, *matrices_and_biases, *cell_parameters, *state)
    return y, tuple(new)


def twice_differentiable(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Decorate the backward of a function that :func:`apply_autograd` calls.

    With ``create_graph=True`` or ``is_grads_batched=True`` the gradients are those of ``reference``, which can be
    differentiated again; otherwise ``backward`` runs, with autocast disabled. The function must store ``cell`` and
    ``dtype`` on its context, and save its inputs, from x on, before any other tensors.
    """

    @wraps(backward)
    def differentiable_backward(ctx: Any, d_output: Tensor, *d_state: Tensor) -> Gradients:
        if torch.is_grad_enabled() or transforming(d_output, *d_state):
            return (None, None, None, *_reference_gradients(ctx, (d_output, *d_state)))
        with torch.autocast(d_output.device.type, enabled=False):
            return backward(ctx, d_output, *d_state)

    return differentiable_backward


def split_saved(cell: Cell, saved: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Split the saved tensors into the inputs (x, W, U, two biases, the per-unit parameters, the initial state) and the
    rest."""
    count = 5 + len(cell.parameters) + len(cell.state)
    return saved[:count], saved[count:]


def _reference_gradients(ctx: Any, d_outputs: Sequence[Tensor]) -> Gradients:
    cell: Cell = ctx.cell
    inputs, _ = split_saved(cell, ctx.saved_tensors)

    def run(x: Tensor, w: Tensor, u: Tensor, bias_ih: Tensor, bias_hh: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        cell_parameters = dict(zip(cell.parameters, rest, strict=False))
        state = rest[len(cell_parameters) :]
        y, new = Reference().run(cell, Weights(w, u, bias_ih, bias_hh, cell_parameters), x, state)
        return y, *new

    param_dtype, device = inputs[2].dtype, inputs[2].device.type
    autocast_dtype = None if ctx.dtype == param_dtype else ctx.dtype
    with torch.autocast(device, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        return gradients_with_graph(run, inputs, ctx.needs_input_grad[3:], d_outputs)


def gradients_with_graph(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    d_outputs: Sequence[Tensor],
) -> Gradients:
    """Differentiable gradients of the function with respect to the inputs that are ``needed``.

    If one input depends on another, the gradients do not include that dependence.
    """
    with torch.enable_grad():
        views = [t.view_as(t) if t is not None and need else t for t, need in zip(inputs, needed, strict=True)]
        outputs = function(*views)
        differentiable = [(y, d.to(y.dtype)) for y, d in zip(outputs, d_outputs, strict=True) if y.requires_grad]
        targets = [t for t, need in zip(views, needed, strict=True) if t is not None and need]
        gradients = iter(
            torch.autograd.grad(
                [y for y, _ in differentiable],
                targets,
                [d for _, d in differentiable],
                create_graph=True,
                materialize_grads=True,
            )
        )
        return tuple(next(gradients) if need else None for need in needed)
