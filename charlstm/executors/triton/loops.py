"""The loops along time: products and kernels of a printed program on given buffers."""

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
Buffers = Mapping[str, Tensor | None]
Step = Callable[[int], object]


def forward_loop(
    cell: Cell, steps: int, batch: int, buffers: Buffers, weight: Tensor, given: Mapping[str, Any]
) -> Loop:
    """The way forward, with the recurrent weight [GH, H]."""
    program = forward_program(cell)
    stages = [
        (
            [_gate_matmul(cell, steps, p, buffers, weight) for p in products],
            kernel_launcher(program, kernel, buffers, batch, given),
        )
        for products, kernel in zip(program.matmuls, program.kernels, strict=True)
    ]

    def work() -> None:
        for t in range(steps):
            for products, kernel in stages:
                for product in products:
                    product(t)
                kernel(t)

    return work


def backward_loop(
    cell: Cell, steps: int, batch: int, buffers: Buffers, weight: Tensor, given: Mapping[str, Any]
) -> Loop:
    """The way back, with the recurrent weight [GH, H]."""
    program = backward_program(cell)
    first, last, *kernels = (
        None if kernel is None else kernel_launcher(program, kernel, buffers, batch, given)
        for kernel in (program.first, program.last, *program.kernels)
    )
    products = [[_transposed_matmul(cell, p, buffers, weight) for p in stage] for stage in program.matmuls]
    sums = [_buffer(buffers, f"z_{name}") for name in cell.parameters]

    def work() -> None:
        for total in sums:
            total.zero_()
        for t in range(steps - 1, -1, -1):
            for number, (stage, kernel) in enumerate(zip_longest(products, kernels)):
                for product in stage:
                    product(t)
                if number == 0 and t == steps - 1:
                    kernel = first
                if kernel is not None:
                    kernel(t)
        if last is not None:
            last(0)

    return work


def _gate_matmul(cell: Cell, steps: int, product: Matmul, buffers: Buffers, weight: Tensor) -> Step:
    out, units = _buffer(buffers, product.out), weight.shape[1]
    operands = per_step(_buffer(buffers, product.operand).unbind(0), steps)
    (run,) = product.runs
    matrix = weight[gate_slice(cell.gates, run, units)].t()
    return lambda t: torch.mm(operands[t], matrix, out=out)


def _transposed_matmul(cell: Cell, product: Matmul, buffers: Buffers, weight: Tensor) -> Step:
    out, units = _buffer(buffers, product.out), weight.shape[1]
    gradients = _buffer(buffers, product.operand)
    parts = [gate_slice(cell.gates, run, units) for run in product.runs]
    terms = [(gradients[..., part].unbind(0), weight[part]) for part in parts]

    def multiply(t: int) -> None:
        (operands, matrix), *more = terms
        torch.mm(operands[t], matrix, out=out)
        for operands, matrix in more:
            torch.addmm(out, operands[t], matrix, out=out)

    return multiply


def _buffer(buffers: Buffers, name: str) -> Tensor:
    found = buffers[name]
    assert found is not None
    return found
