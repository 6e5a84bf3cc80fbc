"""Runs a generated loop of torch operations on any device, without a compiler.

The input sides of all steps are one matmul (or a table lookup), each step of the loop runs one recurrent matmul and
the pointwise operations on preallocated buffers, and the weight gradients are one matmul after the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.loops import RecurrentMatmul, forward_loop
from charlstm.compiler.schedule import separate_gates
from charlstm.compiler.torch_printer import backward_code, forward_code
from charlstm.executors.autograd import apply_autograd, split_saved, twice_differentiable
from charlstm.executors.base import State, Weights, eager_saved_bytes, input_side, is_ids
from charlstm.executors.buffers import (
    RecurrentMatmuls,
    bias_rows,
    gate_slice,
    gate_views,
    gather_rows,
    gradients_of,
    joined_bias,
    names_with_prefix,
    parameter_views,
    per_step,
)
from charlstm.executors.input_gradients import input_gradients


class Eager:
    """Runs the loops that :mod:`charlstm.compiler.torch_printer` generates from the cell."""

    name = "eager"
    devices = None
    automatic = True
    stacks = None

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:  # noqa: ARG002
        return None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        return apply_autograd(_Run, cell, weights, x, state)

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:  # noqa: ARG002
        return eager_saved_bytes(cell, hidden_size)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        dtype: torch.dtype,
        training: bool,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        *parameters_and_state: Tensor,
    ) -> tuple[Tensor, ...]:
        parameters = parameters_and_state[: len(cell.parameters)]
        state = parameters_and_state[len(cell.parameters) :]
        code = forward_code(cell)
        values = _input_side(cell, dtype, x, weight_ih, bias_ih, bias_hh)
        steps, batch, _ = values.shape
        H = weight_hh.shape[1]
        output, saved_steps = cell.state[0], steps if training else 1
        stacks = {f"s_{s}": values.new_empty(steps + 1 if training or s == output else 2, batch, H) for s in cell.state}
        for stack, first in zip(stacks.values(), state, strict=True):
            stack[0] = first
        stacks |= {name: values.new_empty(saved_steps, batch, H) for name in names_with_prefix(code, "v_")}
        separate = values.new_empty(saved_steps, batch, H * len(separate_gates(cell)))
        matmuls = RecurrentMatmuls(cell, dtype, weight_hh, bias_hh)
        buffers: dict[str, Any] = {
            **{name: per_step(stack.unbind(0), steps + (name[0] == "s")) for name, stack in stacks.items()},
            **gate_views(values, cell.gates, names_with_prefix(code, "a_")),
            **{
                name: per_step(parts, steps)
                for name, parts in gate_views(separate, separate_gates(cell), names_with_prefix(code, "q_")).items()
            },
            **{name: values.new_empty(batch, H) for name in names_with_prefix(code, "w_")},
            **parameter_views(cell, parameters, batch),
            "accumulate": matmuls.accumulate,
            "matmul": matmuls.matmul,
        }
        code.function(steps, buffers)
        ctx.cell, ctx.dtype, ctx.stack_names = cell, dtype, tuple(stacks)
        if training:
            inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, *parameters_and_state)
            ctx.save_for_backward(*inputs, values, separate, *stacks.values())
        last = (buffers[f"s_{s}"][steps].clone() for s in cell.state)
        return (stacks[f"s_{output}"][1:], *last)

    @staticmethod
    @twice_differentiable
    def backward(ctx: Any, d_output: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        return _backward(ctx, d_output, d_state)


def _backward(ctx: Any, d_output: Tensor, d_state: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    cell: Cell = ctx.cell
    inputs, (values, separate, *rest) = split_saved(cell, ctx.saved_tensors)
    x, weight_ih, weight_hh, _, _, *parameters_and_state = inputs
    parameters = parameters_and_state[: len(cell.parameters)]
    stacks = dict(zip(ctx.stack_names, rest, strict=True))
    code = backward_code(cell)
    steps, batch, rows = values.shape
    H = weight_hh.shape[1]
    gradients, separate_gradients = torch.empty_like(values), torch.empty_like(separate)
    trained = {name: letters for name, letters in cell.parameters.items() if name not in cell.per_step}
    labels = [(name, k) for name, letters in trained.items() for k in letters]
    sums = {f"z_{name}_{k}": values.new_zeros(batch, H) for name, k in labels}
    buffers: dict[str, Any] = {
        **{name: stack.unbind(0) for name, stack in stacks.items()},
        **gate_views(values, cell.gates, names_with_prefix(code, "a_")),
        **gate_views(separate, separate_gates(cell), names_with_prefix(code, "q_")),
        **gate_views(gradients, cell.gates, names_with_prefix(code, "d_")),
        **gate_views(separate_gradients, separate_gates(cell), names_with_prefix(code, "e_")),
        **{f"g_{s}": gradient.clone() for s, gradient in zip(cell.state, d_state, strict=True)},
        **{
            name: values.new_empty(batch, H)
            for name in (*names_with_prefix(code, "w_"), *names_with_prefix(code, "n_"))
        },
        **parameter_views(cell, parameters, batch),
        **sums,
        "y": d_output.unbind(0),
        "transposed": RecurrentMatmuls(cell, ctx.dtype, weight_hh, None).transposed,
    }
    d_first = code.function(steps, buffers)

    needs_x, needs_ih, needs_hh, needs_bias_ih, needs_bias_hh, *needs_parameters = ctx.needs_input_grad[3:]
    flat = gradients.view(-1, rows)
    flat_compute = flat.to(ctx.dtype)
    d_weight_ih, d_bias = input_gradients(x, flat, flat_compute, weight_ih, needs_ih, needs_bias_ih or needs_bias_hh)
    d_weight_hh = d_bias_hh = None
    matmuls = forward_loop(cell).matmuls
    gate_gradients = {"d": flat_compute.view_as(gradients), "e": separate_gradients}
    if needs_hh:

        def weight_gradient(m: RecurrentMatmul) -> Tensor:
            v = _over_time(cell, forward_code(cell).locations[m.operand], stacks, values, separate, buffers)
            return gradients_of(m, gate_gradients).to(ctx.dtype).t() @ v.reshape(-1, H).to(ctx.dtype)

        d_weight_hh = gather_rows(cell, matmuls, weight_hh, weight_gradient)
    if needs_bias_hh and d_bias is not None:
        d_bias_hh = gather_rows(
            cell, matmuls, d_bias, lambda m: bias_rows(cell, m, gate_gradients, d_bias, weight_hh.dtype)
        )
    d_x = (flat_compute @ weight_ih.to(ctx.dtype)).view(x.shape).to(x.dtype) if needs_x else None
    d_parameters = (
        torch.cat([sums[f"z_{name}_{k}"].sum(0) for k in letters]) if needed else None
        for (name, letters), needed in zip(cell.parameters.items(), needs_parameters, strict=False)
    )
    d_bias_ih = d_bias if needs_bias_ih else None
    return (None, None, None, d_x, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d_parameters, *d_first)


def _over_time(
    cell: Cell,
    location: str,
    stacks: Mapping[str, Tensor],
    values: Tensor,
    separate: Tensor,
    buffers: Mapping[str, Any],
) -> Tensor:
    """The values of all steps, [T, B, H], at a location in the generated code, such as ``s_c[t + 1]``."""
    name, _, index = location.partition("[")
    H, steps = buffers["g_" + cell.state[0]].shape[-1], len(values)
    if name in stacks:
        return stacks[name][1:] if index == "t + 1]" else stacks[name][:steps]
    if name[0] in "aq":
        all_gates, letters = (values, cell.gates) if name[0] == "a" else (separate, separate_gates(cell))
        return all_gates[..., gate_slice(letters, name[2:], H)]
    parameter: Tensor = buffers[name]
    return parameter.expand(steps, *parameter.shape)


def _input_side(
    cell: Cell,
    dtype: torch.dtype,
    x: Tensor,
    weight_ih: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
) -> Tensor:
    """``W x`` plus its bias, in the weights' dtype: [T, B, GH]."""
    bias = joined_bias(cell, bias_ih, bias_hh)
    if is_ids(x) or dtype == weight_ih.dtype:
        return input_side(x, weight_ih, bias)
    product = input_side(x.to(dtype), weight_ih.to(dtype), None)
    return product.to(weight_ih.dtype) if bias is None else product + bias
