"""Compile the kernels of cells for a GPU that is not there; nothing is launched.

    python compile_kernels.py CAPABILITY JOB ...

CAPABILITY is that of the GPU, such as 90. A job is CELL,COMPUTE_DTYPE,BATCH,HIDDEN_SIZE,TRAINING (1 or 0), where CELL
is a declared one or CELL+state_dropout, and ",persistent16x8" for a pass in one kernel, of programs with 16 rows and
sums of eight parts. Everything runs as on a GPU except the launch. Writes one JSON object: job -> the names of the
compiled kernels, in order. No persistent kernel may keep registers in memory, read operands in TF32 without rounding
them, or use more shared memory than :func:`charlstm.executors.triton.persistent.tiles` counts.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from test_laws import make
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from charlstm.cells import CELLS
from charlstm.compiler.persistent_printer import persistent_backward, persistent_forward
from charlstm.executors.triton.kernels import launch_error
from charlstm.executors.triton.persistent import UNITS, Division, Tiles
from charlstm.executors.triton.plans import Plan, Shape
from charlstm.model.state_dropout import StateDropout

MASKED = "+state_dropout"


class AbsentGPU:
    """A fake driver."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def spilled_bytes(kernel: Any) -> int:
    """Bytes of the stack and of local memory of each thread."""
    tool = Path(triton.__path__[0]) / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"(?:STACK|LOCAL):(\d+)", usage)))


def main(capability: int, jobs: list[str]) -> None:
    compiled: dict[int, Any] = {}
    launch = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = launch(self, *args, grid=grid, warmup=True, **options)
        compiled[id(kernel)] = kernel
        return kernel

    JITFunction.run = compile_only
    driver.set_active(AbsentGPU(capability))
    assert launch_error(torch.device("cpu")) is None
    kernels = {}
    for job in jobs:
        job_of_shape, _, kind_of_tiles = job.partition(",persistent")
        name, kind, *numbers = job_of_shape.split(",")
        rows, parts = map(int, kind_of_tiles.split("x")) if kind_of_tiles else (0, 0)
        tiles = Tiles(1, rows, UNITS, parts) if kind_of_tiles else None
        compute_dtype, (batch, hidden_size, training) = getattr(torch, kind), map(int, numbers)
        cell = CELLS[name.removesuffix(MASKED)]
        cell = StateDropout(cell, 0.2).training_cell if name.endswith(MASKED) else cell
        ids = compute_dtype == torch.bfloat16
        size = hidden_size, parts, False
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
            "tf32",
        )
        with torch.no_grad():
            plan = Plan(shape, False, Division(tiles, tiles))
            y, new = plan.forward(weights, x, state)
            if training:
                plan.backward(y, new)
        assert all(kernel.asm["cubin"].startswith(b"\x7fELF") for kernel in compiled.values())
        if tiles:
            assert not any(map(spilled_bytes, compiled.values())), (job, [*map(spilled_bytes, compiled.values())])
            gates = max(kernel.gates for kernel in (persistent_forward(cell, *size), persistent_backward(cell, *size)))
            counted = tiles.shared_bytes(hidden_size, gates, compute_dtype.itemsize)
            assert all(kernel.metadata.shared <= counted for kernel in compiled.values()), job
            is_tf32 = compute_dtype == torch.float32
            assert all(("cvt.rna.tf32.f32" in kernel.asm["ptx"]) == is_tf32 for kernel in compiled.values()), job
        kernels[job] = [kernel.metadata.name for kernel in compiled.values()]
    sys.stdout.write(json.dumps(kernels))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
