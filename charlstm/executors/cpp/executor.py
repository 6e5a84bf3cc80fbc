"""Whole sequences in one C++ call on the CPU, generated from a cell's equations and built at first use.

The loop along time is C++; the input sides of all steps and the weight gradients are one product each, by torch. With
products in bfloat16, states and sums stay in float32; y and what is kept for the way back are bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.cpp_loops import backward_loop, forward_loop, saved_bytes_per_unit
from charlstm.compiler.schedule import separate_gates
from charlstm.compiler.stages import backward_states, operand_states
from charlstm.executors.autograd import apply_autograd, split_saved, twice_differentiable
from charlstm.executors.base import State, Weights, is_ids, matmul_dtype
from charlstm.executors.buffers import joined_bias
from charlstm.executors.cpp.build import COMPUTE_DTYPES, kernels
from charlstm.executors.cpp.gradients import input_gradients, recurrent_bias_gradient, recurrent_gradient
from charlstm.executors.cpp.memory import (
    PANEL,
    call,
    checked,
    input_table,
    pack,
    pad_gates,
    pad_last,
    padded_units,
)
from charlstm.executors.cpp.partition import shared
from charlstm.executors.tracing import tracing


class Cpp:
    """Runs the kernels that :mod:`charlstm.compiler.cpp_loops` prints from the cell."""

    name = "cpp"
    devices = ("cpu",)
    automatic = True
    stacks = None

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        if weights.weight_hh.device.type != "cpu":
            return "it runs on the CPU"
        if reason := tracing(weights, x):
            return reason
        for dtype, wanted in (
            (weights.weight_hh.dtype, (torch.float32,)),
            (matmul_dtype(weights.weight_hh), COMPUTE_DTYPES),
        ):
            if dtype not in wanted:
                return f"it has no {str(dtype).removeprefix('torch.')}"
        found = kernels(cell, matmul_dtype(weights.weight_hh))
        return found if isinstance(found, str) else None

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        rows, units = len(cell.gates) * weights.hidden_size, weights.hidden_size
        if weights.weight_hh.shape != (rows, units) or len(weights.weight_ih) != rows:
            raise ValueError(f"cell {cell.name} with {units} units needs weights of {rows} rows")
        return apply_autograd(_Run, cell, weights, x, state)

    def saved_bytes_per_unit(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:  # noqa: ARG002
        """What the kernels keep, and the gradients of the gates, for H rounded up to whole panels."""
        return padded_units(hidden_size) * saved_bytes_per_unit(cell, dtype)


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
        own = dict(zip(cell.parameters, parameters_and_state, strict=False))
        first = dict(zip(cell.state, parameters_and_state[len(own) :], strict=True))
        loop, gates = forward_loop(cell), len(cell.gates)
        steps, batch = x.shape[:2]
        units = weight_hh.shape[1]
        padded = padded_units(units)
        parameters = {name: pad_gates(p, len(cell.parameters[name])) for name, p in own.items()}
        exact = {
            s: weight_hh.new_empty(steps + 1 if training and s in backward_states(cell) else 2, batch, padded)
            for s in cell.state
        }
        low = {s: weight_hh.new_empty(steps + 1, batch, padded, dtype=dtype) for s in operand_states(cell)}
        for s, part in first.items():
            exact[s][0] = pad_last(part, padded)
            if s in low:
                low[s][0] = exact[s][0]
        kept_steps = steps if training else 1
        values = {name: weight_hh.new_empty(kept_steps, batch, padded, dtype=dtype) for name in loop.values.values()}
        bias = joined_bias(cell, bias_ih, bias_hh)
        none = weight_hh.new_zeros(gates * padded) if bias is None else weight_hh
        buffers: dict[str, Tensor | int | None] = {
            "T": steps,
            "B": batch,
            "H": padded,
            "x": _input_rows(x, weight_ih, gates, dtype),
            "ids": checked(x, weight_ih.shape[1]) if is_ids(x) else None,
            "weights": pack(cell, weight_hh, gates, dtype),
            "bias_x": none if bias is None else pad_gates(bias, gates),
            "bias_h": none if bias_hh is None else pad_gates(bias_hh, gates),
            "keep": -1 if training else 0,
            "input_mask": -1,
            "low_mask": -1,
            **{f"s_{s}": stack for s, stack in exact.items()},
            **{f"all_{s}": -1 if training and s in backward_states(cell) else 1 for s in exact},
            **{f"l_{s}": stack for s, stack in low.items()},
            **values,
            **{f"p_{name}": p for name, p in parameters.items()},
        }
        with shared((cell, dtype, "forward", batch, padded), batch, padded // PANEL, steps) as way:
            call(cell, dtype, "forward", loop, {**buffers, **way._asdict()})
        ctx.cell, ctx.dtype, ctx.names = cell, dtype, (tuple(exact), tuple(low), tuple(values))
        if training:
            inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, *parameters_and_state)
            made = (*parameters.values(), *exact.values(), *low.values(), *values.values())
            ctx.save_for_backward(*inputs, *made)
        last = (
            stack[steps if training and s in backward_states(cell) else steps & 1, :, :units].clone()
            for s, stack in exact.items()
        )
        return (low[cell.state[0]][1:, :, :units], *last)

    @staticmethod
    @twice_differentiable
    def backward(ctx: Any, d_output: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        return _backward(ctx, d_output, d_state)


def _backward(ctx: Any, d_output: Tensor, d_state: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    cell: Cell = ctx.cell
    dtype: torch.dtype = ctx.dtype
    inputs, made = split_saved(cell, ctx.saved_tensors)
    (x, weight_ih, weight_hh, *_), saved = inputs, iter(made)
    parameters, exact, low, values = (
        {name: next(saved) for name in names} for names in (tuple(cell.parameters), *ctx.names)
    )
    gates, separate = len(cell.gates), separate_gates(cell)
    steps, batch, units = d_output.shape
    padded = padded_units(units)
    d_output = pad_last(d_output, padded)
    if d_output.stride(2) != 1:
        d_output = d_output.contiguous()
    d = weight_hh.new_empty(steps * batch, gates * padded, dtype=dtype)
    e = weight_hh.new_empty(steps * batch, len(separate) * padded, dtype=dtype)
    z = {name: weight_hh.new_zeros(len(letters), batch, padded) for name, letters in cell.parameters.items()}
    g = {s: weight_hh.new_empty(2, batch, padded) for s in cell.state}
    for s, part in zip(cell.state, d_state, strict=True):
        g[s][steps & 1] = pad_last(part, padded)
    buffers: dict[str, Tensor | int | None] = {
        "T": steps,
        "B": batch,
        "H": padded,
        "weights": pack(cell, weight_hh, gates, dtype, back=True),
        "y": d_output,
        "y_t": d_output.stride(0),
        "y_b": d_output.stride(1),
        **{f"s_{s}": stack for s, stack in exact.items()},
        **{f"l_{s}": stack for s, stack in low.items()},
        **values,
        **{f"p_{name}": p for name, p in parameters.items()},
        **{f"z_{name}": p for name, p in z.items()},
        **{f"g_{s}": pair for s, pair in g.items()},
        "d": d,
        "e": e,
    }
    with shared((cell, dtype, "backward", batch, padded), batch, padded // PANEL, steps) as way:
        call(cell, dtype, "backward", backward_loop(cell), {**buffers, **way._asdict()})

    needs_x, needs_ih, needs_hh, needs_bias_ih, needs_bias_hh, *needs_own = ctx.needs_input_grad[3:]
    d_weight_ih, d_bias = input_gradients(cell, x, d, weight_ih, needs_ih, needs_bias_ih or needs_bias_hh)
    d_weight_hh = recurrent_gradient(cell, weight_hh, low | values, d, e) if needs_hh else None
    d_bias_hh = recurrent_bias_gradient(cell, e, d_bias) if d_bias is not None and needs_bias_hh else None
    d_x = (d @ pad_gates(weight_ih.to(dtype), gates)).view(x.shape).to(x.dtype) if needs_x else None
    d_parameters = (
        part.sum(1)[:, :units].reshape(-1) if needed else None
        for part, needed in zip(z.values(), needs_own, strict=False)
    )
    d_first = (pair[0, :, :units] for pair in g.values())
    d_bias_ih = d_bias if needs_bias_ih else None
    return (None, None, None, d_x, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d_parameters, *d_first)


def _input_rows(x: Tensor, weight_ih: Tensor, gates: int, dtype: torch.dtype) -> Tensor:
    """``W x`` of all steps, [T, B, G Hp], or for ids that of every symbol and of the zero vector, [I + 1, G Hp]."""
    if is_ids(x):
        return input_table(weight_ih, gates, dtype)
    weight = pad_gates(weight_ih.to(dtype), gates)
    return (x.to(dtype).flatten(0, 1) @ weight.t()).view(*x.shape[:2], -1)
