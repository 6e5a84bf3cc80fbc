"""The ``triton`` executor and its autograd function."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.loops import forward_loop, saved_bytes_per_unit
from charlstm.executors.autograd import apply_autograd, twice_differentiable
from charlstm.executors.base import State, Weights, is_ids, matmul_dtype
from charlstm.executors.buffers import bias_rows, gather_rows, weight_gradient
from charlstm.executors.input_gradients import input_gradients
from charlstm.executors.tracing import tracing
from charlstm.executors.triton.kernels import interpreting, launch_error, on_device_of
from charlstm.executors.triton.plans import Plan, Shape
from charlstm.executors.triton.pool import Lease, Pool

POOL = Pool()
PARAM_DTYPES = (torch.float32, torch.float64)
COMPUTE_DTYPES = (*PARAM_DTYPES, torch.bfloat16)


class Triton:
    """Runs the kernels that :mod:`charlstm.compiler.triton_printer` generates from the cell."""

    name = "triton"
    devices = ("cuda",)
    automatic = True
    stacks = None

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:  # noqa: ARG002
        device, param_dtype = weights.weight_hh.device, weights.weight_hh.dtype
        compute_dtype = matmul_dtype(weights.weight_hh)
        refusal = device_refusal(device, compute_dtype) or tracing(weights, x) or _not_installed()
        if refusal:
            return refusal
        for dtype, supported in ((param_dtype, PARAM_DTYPES), (compute_dtype, COMPUTE_DTYPES)):
            if dtype not in supported:
                return f"it does not support {str(dtype).removeprefix('torch.')}"
        return launch_error(device)

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        with on_device_of(x):
            return apply_autograd(_Run, cell, weights, x, state)

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:  # noqa: ARG002
        """The values that the kernels save, and the gradients of the gates."""
        return hidden_size * (saved_bytes_per_unit(cell, dtype) + dtype.itemsize)


def clear_plan_cache() -> None:
    """Drop all cached plans, and release unused cached GPU memory."""
    POOL.clear()
    torch.cuda.empty_cache()


def device_refusal(device: torch.device, compute_dtype: torch.dtype) -> str | None:
    """Why the kernels are not made for a device; None if they are."""
    if device.type == "cpu" and interpreting():
        return None
    if device.type != "cuda" or torch.version.hip is not None:
        return "it runs on NVIDIA GPUs"
    if interpreting():
        return "TRITON_INTERPRET is set, which interprets kernels on the CPU only; unset it"
    capability = torch.cuda.get_device_capability(device)
    required = (8, 0) if compute_dtype == torch.bfloat16 else (7, 0)
    if capability < required:
        actual, minimum = (".".join(map(str, version)) for version in (capability, required))
        return f"it needs a GPU of compute capability {minimum} or higher; this one has {actual}"
    return None


@cache
def _not_installed() -> str | None:
    return "triton is not installed: pip install triton" if find_spec("triton") is None else None


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
        state = parameters_and_state[len(cell_parameters) :]
        steps, batch = x.shape[:2]
        shape = Shape(
            cell,
            steps,
            batch,
            weight_hh.shape[1],
            weight_ih.shape[1] if is_ids(x) else None,
            dtype,
            weight_hh.dtype,
            training,
            x.device,
            torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0,
            torch.backends.cuda.matmul.fp32_precision,
        )
        lease = POOL.take(shape)
        assert lease.plan is not None
        y, last = lease.plan.forward(Weights(weight_ih, weight_hh, bias_ih, bias_hh, cell_parameters), x, state)
        if training:
            ctx.lease, ctx.cell, ctx.dtype = lease, cell, dtype
            ctx.save_for_backward(x, weight_ih, weight_hh, bias_ih, bias_hh, *parameters_and_state)
        return y, *last

    @staticmethod
    @twice_differentiable
    def backward(ctx: Any, d_output: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_ih, weight_hh, *_ = ctx.saved_tensors  # raises if they were freed, and the lease with them
        lease: Lease = ctx.lease
        assert lease.plan is not None
        with on_device_of(x):
            gradients = _gradients(lease.plan, x, weight_ih, weight_hh, ctx.needs_input_grad[3:], d_output, d_state)
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            lease.release()
        return (None, None, None, *gradients)


def _gradients(
    plan: Plan,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    needed: tuple[bool, ...],
    d_output: Tensor,
    d_state: State,
) -> tuple[Tensor | None, ...]:
    """Gradients of x, the weights and biases, the per-unit parameters and the initial state."""
    cell = plan.shape.cell
    matmuls = forward_loop(cell, joined=True).matmuls
    d_initial = plan.backward(d_output, d_state)
    d = plan.buffers["d"].flatten(0, 1)
    needs_x, needs_ih, needs_hh, needs_bias_ih, needs_bias_hh, *needs_parameters = needed
    d_weight_ih, d_bias = input_gradients(x, d, d, weight_ih, needs_ih, needs_bias_ih or needs_bias_hh)
    d_weight_hh = d_bias_hh = None
    if needs_hh:
        d_weight_hh = gather_rows(cell, matmuls, weight_hh, lambda m: weight_gradient(m, plan.buffers))
    if needs_bias_hh and d_bias is not None:
        d_bias_hh = gather_rows(
            cell, matmuls, d_bias, lambda m: bias_rows(cell, m, plan.buffers, d_bias, weight_hh.dtype)
        )
    d_x = (d @ weight_ih.to(d.dtype)).view(x.shape).to(x.dtype) if needs_x else None
    d_parameters = (
        plan.buffers[f"z_{name}"].sum(1).flatten() if needs_gradient else None
        for name, needs_gradient in zip(cell.parameters, needs_parameters, strict=False)
    )
    return (d_x, d_weight_ih, d_weight_hh, d_bias if needs_bias_ih else None, d_bias_hh, *d_parameters, *d_initial)
