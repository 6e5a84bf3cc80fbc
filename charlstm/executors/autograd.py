"""How the autograd functions of the executors are called, and their second derivatives."""

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
    """y and the last state, by an autograd function of the cell, the type of the products, whether anything asks for
    gradients, x, W, U, both biases, the cell's own parameters and the first state. Autocast is off inside of it.

    ``reference`` runs instead where torch has to see each operation, and for a batch of no rows.
    """
    if tracing(weights, x) or x.shape[1] == 0:
        return Reference().run(cell, weights, x, state)
    fixed = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    own = [weights.parameters[name] for name in cell.parameters]
    apply: Callable[..., Any] = function.apply
    dtype, training = matmul_dtype(weights.weight_hh), needs_grad(weights, x, state)
    with torch.autocast(x.device.type, enabled=False):
        y, *new = apply(cell, dtype, training, x, *fixed, *own, *state)
    return y, tuple(new)


def twice_differentiable(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Decorates the backward of a function that :func:`apply_autograd` calls.

    Where a graph of the gradients is asked for (``create_graph=True``), or many at once (``is_grads_batched=True``),
    they are those of ``reference``, which can be differentiated again. Else ``backward`` runs, with autocast off. The
    function puts ``cell`` and ``dtype`` on its context, and of the tensors that it saves, the first are its inputs,
    from x on.
    """

    @wraps(backward)
    def either(ctx: Any, d_output: Tensor, *d_state: Tensor) -> Gradients:
        if torch.is_grad_enabled() or transforming(d_output, *d_state):
            return (None, None, None, *_reference_gradients(ctx, (d_output, *d_state)))
        with torch.autocast(d_output.device.type, enabled=False):
            return backward(ctx, d_output, *d_state)

    return either


def split_saved(cell: Cell, saved: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """What a function of the cell has saved: its inputs (x, W, U, two biases, the cell's own parameters, the state),
    and the rest."""
    count = 5 + len(cell.parameters) + len(cell.state)
    return saved[:count], saved[count:]


def _reference_gradients(ctx: Any, d_outputs: Sequence[Tensor]) -> Gradients:
    cell: Cell = ctx.cell
    inputs, _ = split_saved(cell, ctx.saved_tensors)

    def run(x: Tensor, w: Tensor, u: Tensor, bias_ih: Tensor, bias_hh: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(cell.parameters, rest, strict=False))
        y, new = Reference().run(cell, Weights(w, u, bias_ih, bias_hh, own), x, rest[len(own) :])
        return y, *new

    exact, device = inputs[2].dtype, inputs[2].device.type
    low = None if ctx.dtype == exact else ctx.dtype
    with torch.autocast(device, dtype=low, enabled=low is not None):
        return gradients_with_graph(run, inputs, ctx.needs_input_grad[3:], d_outputs)


def gradients_with_graph(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    d_outputs: Sequence[Tensor],
) -> Gradients:
    """Gradients of the function by the inputs that need them, which can themselves be differentiated.

    An input may depend on another: each is seen as if it were given.
    """
    with torch.enable_grad():
        seen = [t.view_as(t) if t is not None and need else t for t, need in zip(inputs, needed, strict=True)]
        outputs = function(*seen)
        reached = [(y, d.to(y.dtype)) for y, d in zip(outputs, d_outputs, strict=True) if y.requires_grad]
        wanted = [t for t, need in zip(seen, needed, strict=True) if t is not None and need]
        found = iter(
            torch.autograd.grad(
                [y for y, _ in reached], wanted, [d for _, d in reached], create_graph=True, materialize_grads=True
            )
        )
        return tuple(next(found) if need else None for need in needed)
