"""Compile the kernels of cells for an H100, without a GPU: nothing is launched.

    python compile_kernels.py JOB ...

A job is CELL,TYPE,BATCH,UNITS,TRAINING: the type of the products, and 1 or 0. All goes the way that it goes on a GPU,
but for the launch itself. Writes one JSON object: job -> the names of the kernels that were compiled, in order.
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
    """The driver of an H100 that is not there."""

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
    found = {}
    for job in jobs:
        name, kind, *numbers = job.split(",")
        cell, low, (batch, units, training) = CELLS[name], getattr(torch, kind), map(int, numbers)
        ids = low == torch.bfloat16
        compiled.clear()
        # 18 steps, as 0, 1 and 16 are numbers for which Triton would make kernels of their own
        weights, x, state = make(cell, (18, batch, units, 3), ids=ids, dtype=torch.float32)
        shape = Shape(
            cell, 18, batch, units, 3 if ids else None, low, torch.float32, bool(training), x.device, 0, "none"
        )
        with torch.no_grad():
            plan = Plan(shape, record=False)
            y, new = plan.forward(weights, x, state)
            if training:
                plan.backward(y, new)
        assert all(kernel.asm["cubin"].startswith(b"\x7fELF") for kernel in compiled.values())
        found[job] = [kernel.metadata.name for kernel in compiled.values()]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
