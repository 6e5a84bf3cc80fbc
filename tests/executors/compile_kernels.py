"""Compile the kernels of cells for an H100 without a GPU; nothing is launched.

    python compile_kernels.py JOB ...

A job is CELL,COMPUTE_DTYPE,BATCH,HIDDEN_SIZE,TRAINING (1 or 0). Everything runs as on a GPU except the launch. Writes
one JSON object: job -> the names of the compiled kernels, in order.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from test_laws import make
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from charlstm.cells import CELLS
from charlstm.executors.triton.kernels import launch_error
from charlstm.executors.triton.plans import Plan, Shape


class AbsentGPU:
    """A fake driver of an H100."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def main(jobs: list[str]) -> None:
    compiled: dict[int, Any] = {}
    launch = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = launch(self, *args, grid=grid, warmup=True, **options)
        compiled[id(kernel)] = kernel
        return kernel

    JITFunction.run = compile_only
    driver.set_active(AbsentGPU())
    assert launch_error(torch.device("cpu")) is None
    kernels = {}
    for job in jobs:
        name, kind, *numbers = job.split(",")
        cell, compute_dtype, (batch, hidden_size, training) = CELLS[name], getattr(torch, kind), map(int, numbers)
        ids = compute_dtype == torch.bfloat16
        compiled.clear()
        # 18 steps, as Triton specializes kernels for the arguments 0, 1 and multiples of 16
        weights, x, state = make(cell, (18, batch, hidden_size, 3), ids=ids, dtype=torch.float32)
        shape = Shape(
            cell,
            18,
            batch,
            hidden_size,
            3 if ids else None,
            compute_dtype,
            torch.float32,
            bool(training),
            x.device,
            0,
            "none",
        )
        with torch.no_grad():
            plan = Plan(shape, capture=False)
            y, new = plan.forward(weights, x, state)
            if training:
                plan.backward(y, new)
        assert all(kernel.asm["cubin"].startswith(b"\x7fELF") for kernel in compiled.values())
        kernels[job] = [kernel.metadata.name for kernel in compiled.values()]
    sys.stdout.write(json.dumps(kernels))


if __name__ == "__main__":
    main(sys.argv[1:])
