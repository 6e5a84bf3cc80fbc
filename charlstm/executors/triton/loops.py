"""The time loops: the matmuls and kernels of a generated program on given buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.triton_printer import Matmul, backward_program, forward_program
from charlstm.executors.buffers import gate_slice, per_step
from charlstm.executors.triton.kernels import kernel_launcher

Loop = Callable[[], None]
Buffers = Mapping[str, Tensor]
Step = Callable[[int], object]


def forward_launcher(
    cell: Cell, steps: int, batch: int, buffers: Buffers, weight: Tensor, constexprs: Mapping[str, Any]
) -> Loop:
    """A function that launches the forward pass on the buffers, with the recurrent weight [GH, H]."""
    program = forward_program(cell)
    stages = [
        (
            [_gate_matmul(cell, steps, m, buffers, weight) for m in matmuls],
            kernel_launcher(program, kernel, buffers, batch, constexprs),
        )
        for matmuls, kernel in zip(program.matmuls, program.kernels, strict=True)
    ]

    def run_loop() -> None:
        for t in range(steps):
            for matmuls, kernel in stages:
                for matmul in matmuls:
                    matmul(t)
                kernel(t)

    return run_loop


def backward_launcher(
    cell: Cell, steps: int, batch: int, buffers: Buffers, weight: Tensor, constexprs: Mapping[str, Any]
) -> Loop:
    """A function that launches the backward pass on the buffers, with the recurrent weight [GH, H]."""
    program = backward_program(cell)
    first, last, *kernels = (
        None if kernel is None else kernel_launcher(program, kernel, buffers, batch, constexprs)
        for kernel in (program.first, program.last, *program.kernels)
    )
    matmuls = [[_transposed_matmul(cell, m, buffers, weight) for m in stage] for stage in program.matmuls]
    sums = [buffers[f"z_{name}"] for name in cell.parameters if name not in cell.per_step]

    def run_loop() -> None:
        for total in sums:
            total.zero_()
        for t in range(steps - 1, -1, -1):
            for number, (stage, kernel) in enumerate(zip_longest(matmuls, kernels)):
                for matmul in stage:
                    matmul(t)
                if number == 0 and t == steps - 1:
                    kernel = first
                if kernel is not None:
                    kernel(t)
        if last is not None:
            last(0)

    return run_loop


def _gate_matmul(cell: Cell, steps: int, matmul: Matmul, buffers: Buffers, weight: Tensor) -> Step:
    out, H = buffers[matmul.out], weight.shape[1]
    operands = per_step(buffers[matmul.operand].unbind(0), steps)
    (run,) = matmul.runs
    matrix = weight[gate_slice(cell.gates, run, H)].t()
    return lambda t: torch.mm(operands[t], matrix, out=out)


def _transposed_matmul(cell: Cell, matmul: Matmul, buffers: Buffers, weight: Tensor) -> Step:
    out, H = buffers[matmul.out], weight.shape[1]
    gradients = buffers[matmul.operand]
    parts = [gate_slice(cell.gates, run, H) for run in matmul.runs]
    terms = [(gradients[..., part].unbind(0), weight[part]) for part in parts]

    def multiply(t: int) -> None:
        (operands, matrix), *more = terms
        torch.mm(operands[t], matrix, out=out)
        for operands, matrix in more:
            torch.addmm(out, operands[t], matrix, out=out)

    return multiply
