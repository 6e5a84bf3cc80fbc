"""Runs whole sequences in one C++ call on the CPU, generated from a cell's equations and built at first use.

The time loop is C++; the input sides of all steps and the weight gradients are one matmul each, by torch. With matmuls
in bfloat16, states and sums stay in float32; y and the values saved for the backward pass are bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.cpp_printer import backward_code, forward_code
from charlstm.compiler.loops import backward_loop, forward_loop, masks, saved_bytes_per_unit
from charlstm.executors.autograd import apply_autograd, split_saved, twice_differentiable
from charlstm.executors.base import State, Weights, is_ids, matmul_dtype
from charlstm.executors.buffers import allocate, joined_bias, read_state, write_state
from charlstm.executors.cpp.build import COMPUTE_DTYPES, kernels
from charlstm.executors.cpp.gradients import input_gradients, recurrent_bias_gradient, recurrent_gradient
from charlstm.executors.cpp.memory import (
    PANEL,
    call,
    check_ids,
    input_table,
    pack,
    pad_gates,
    pad_last,
    padded_size,
)
from charlstm.executors.cpp.partition import autotuned_partition
from charlstm.executors.tracing import tracing


class Cpp:
    """Runs the kernels that :mod:`charlstm.compiler.cpp_printer` generates from the cell."""

    name = "cpp"
    devices = ("cpu",)
    automatic = True
    stacks = None

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        if weights.weight_hh.device.type != "cpu":
            return "it runs on the CPU"
        if reason := tracing(weights, x):
            return reason
        for dtype, supported in (
            (weights.weight_hh.dtype, (torch.float32,)),
            (matmul_dtype(weights.weight_hh), COMPUTE_DTYPES),
        ):
            if dtype not in supported:
                return f"it does not support {str(dtype).removeprefix('torch.')}"
        compiled = kernels(cell, matmul_dtype(weights.weight_hh))
        return compiled if isinstance(compiled, str) else None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        H = weights.hidden_size
        rows = len(cell.gates) * H
        if weights.weight_hh.shape != (rows, H) or len(weights.weight_ih) != rows:
            raise ValueError(f"cell {cell.name} with hidden_size {H} needs weights with {rows} rows")
        return apply_autograd(_Run, cell, weights, x, state)

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:  # noqa: ARG002
        """The values that the kernels save and the gradients of the gates, for H rounded up to whole panels."""
        return padded_size(hidden_size) * saved_bytes_per_unit(cell, dtype)


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
        cell_parameters = dict(zip(cell.parameters, parameters_and_state, strict=False))
        initial = parameters_and_state[len(cell_parameters) :]
        gates, hidden_size = len(cell.gates), weight_hh.shape[1]
        steps, batch = x.shape[:2]
        padded = padded_size(hidden_size)
        parameters = {f"p_{name}": _padded(cell, name, p) for name, p in cell_parameters.items()}
        buffers = allocate(forward_loop(cell).outputs, weight_hh, dtype, steps, batch, padded, training)
        write_state(cell, buffers, 0, (pad_last(part, padded) for part in initial))
        bias = joined_bias(cell, bias_ih, bias_hh)
        zero_bias = weight_hh.new_zeros(gates * padded) if bias is None else weight_hh
        arguments: dict[str, Tensor | int | None] = {
            "T": steps,
            "B": batch,
            "H": padded,
            "x": _input_rows(x, weight_ih, gates, dtype),
            "ids": check_ids(x, weight_ih.shape[1]) if is_ids(x) else None,
            "weights": pack(cell, weight_hh, gates, dtype),
            "bias_x": zero_bias if bias is None else pad_gates(bias, gates),
            "bias_h": zero_bias if bias_hh is None else pad_gates(bias_hh, gates),
            "input_mask": -1,
            **{f"{name}_mask": mask for name, mask in masks(training).items()},
            **buffers,
            **parameters,
        }
        with autotuned_partition((cell, dtype, "forward", batch, padded), batch, padded // PANEL, steps) as partition:
            call(cell, dtype, "forward", forward_code(cell), {**arguments, **partition._asdict()})
        ctx.cell, ctx.dtype, ctx.names = cell, dtype, (*parameters, *buffers)
        if training:
            inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, *parameters_and_state)
            ctx.save_for_backward(*inputs, *parameters.values(), *buffers.values())
        last = (part[:, :hidden_size].clone() for part in read_state(cell, buffers, steps))
        return (buffers[f"l_{cell.state[0]}"][1:, :, :hidden_size], *last)

    @staticmethod
    @twice_differentiable
    def backward(ctx: Any, d_output: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        return _backward(ctx, d_output, d_state)


def _backward(ctx: Any, d_output: Tensor, d_state: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    cell: Cell = ctx.cell
    dtype: torch.dtype = ctx.dtype
    inputs, rest = split_saved(cell, ctx.saved_tensors)
    x, weight_ih, weight_hh, *_ = inputs
    steps, batch, hidden_size = d_output.shape
    padded = padded_size(hidden_size)
    d_output = pad_last(d_output, padded)
    if d_output.stride(2) != 1:
        d_output = d_output.contiguous()
    buffers = dict(zip(ctx.names, rest, strict=True))
    buffers |= allocate(backward_loop(cell).outputs, weight_hh, dtype, steps, batch, padded, training=True)
    for name, buffer in buffers.items():
        if name.startswith("z_"):
            buffer.zero_()
    g = [buffers[f"g_{s}"] for s in cell.state]
    for pair, part in zip(g, d_state, strict=True):
        pair[steps & 1] = pad_last(part, padded)
    gates = len(cell.gates)
    arguments: dict[str, Tensor | int | None] = {
        "T": steps,
        "B": batch,
        "H": padded,
        "weights": pack(cell, weight_hh, gates, dtype, back=True),
        "y": d_output,
        "y_t": d_output.stride(0),
        "y_b": d_output.stride(1),
        **buffers,
    }
    with autotuned_partition((cell, dtype, "backward", batch, padded), batch, padded // PANEL, steps) as partition:
        call(cell, dtype, "backward", backward_code(cell), {**arguments, **partition._asdict()})

    d, e = (buffers[name].flatten(0, 1) for name in "de")
    needs_x, needs_ih, needs_hh, needs_bias_ih, needs_bias_hh, *needs_parameters = ctx.needs_input_grad[3:]
    d_weight_ih, d_bias = input_gradients(cell, x, d, weight_ih, needs_ih, needs_bias_ih or needs_bias_hh)
    d_weight_hh = recurrent_gradient(cell, weight_hh, buffers) if needs_hh else None
    d_bias_hh = recurrent_bias_gradient(cell, e, d_bias) if d_bias is not None and needs_bias_hh else None
    d_x = (d @ pad_gates(weight_ih.to(dtype), gates)).view(x.shape).to(x.dtype) if needs_x else None
    d_parameters = (
        buffers[f"z_{name}"].sum(1)[:, :hidden_size].reshape(-1) if needed else None
        for name, needed in zip(cell.parameters, needs_parameters, strict=False)
    )
    d_first = (pair[0, :, :hidden_size] for pair in g)
    d_bias_ih = d_bias if needs_bias_ih else None
    return (None, None, None, d_x, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d_parameters, *d_first)


def _padded(cell: Cell, name: str, parameter: Tensor) -> Tensor:
    """A parameter with each of its n parts padded: [n Hp], or [T, B, n Hp] for those of each step."""
    parts = len(cell.parameters[name])
    if name not in cell.per_step:
        return pad_gates(parameter, parts)
    split = parameter.view(*parameter.shape[:-1], parts, -1)
    return pad_last(split, padded_size(split.shape[-1])).flatten(-2).contiguous()


def _input_rows(x: Tensor, weight_ih: Tensor, gates: int, dtype: torch.dtype) -> Tensor:
    """``W x`` of all steps [T, B, G Hp], or for ids of every symbol and of the zero vector [I + 1, G Hp]."""
    if is_ids(x):
        return input_table(weight_ih, gates, dtype)
    weight = pad_gates(weight_ih.to(dtype), gates)
    return (x.to(dtype).flatten(0, 1) @ weight.t()).view(*x.shape[:2], -1)
