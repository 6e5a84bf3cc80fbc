"""The time loops as one kernel each: see :mod:`charlstm.compiler.persistent_printer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charlstm.compiler.persistent_printer import COUNTERS_APART, PersistentKernel
from charlstm.compiler.persistent_products import MAX_CHUNK, PARTS
from charlstm.executors.triton.kernels import OPTIONS, functions, interpreting

UNITS = 16
"""Units of a program: the fewest columns of a product on tensor cores, so that most programs share the weights."""
ROWS = (16, 32)
"""Rows of a program; the second if there are not enough processors for the first."""
MAX_REGISTERS = 255
"""Of a thread: the most that there are. The compiler would else keep some in memory, so that more programs fit on a
processor, where there is only one."""
ROWS_PER_WARP = 4
"""So that registers suffice, and the parts of a sum have a warp each, or two."""
PATIENCE = 1 << 22
"""Looks at a counter before a program gives up: some seconds. Programs that run at the same time meet within
microseconds."""


@dataclass(frozen=True)
class Limits:
    """What a GPU has: processors, and bytes of shared memory that one program may use."""

    processors: int
    shared_bytes: int

    @classmethod
    def of(cls, device: torch.device) -> Limits:
        """Those of a device."""
        properties: Any = torch.cuda.get_device_properties(device)
        return cls(properties.multi_processor_count, properties.shared_memory_per_block_optin)


@dataclass(frozen=True)
class Tiles:
    """How a pass is divided: programs of ``rows`` x ``units``."""

    programs: int
    rows: int
    units: int


def tiles(batch: int, hidden_size: int, gates: int, itemsize: int, limits: Limits) -> Tiles | str:
    """The division into programs that all run at the same time, one on each processor, with the weights of ``gates``
    gates in shared memory; or why there is none."""
    for rows in ROWS:
        programs = -(-batch // rows) * (hidden_size // UNITS)
        if programs > limits.processors:
            continue
        weights, operand = gates * UNITS * hidden_size * itemsize, PARTS * rows * MAX_CHUNK * itemsize
        if weights + operand > limits.shared_bytes:
            return "the recurrent weights do not fit in shared memory"
        return Tiles(programs, rows, UNITS)
    return "the batch is too large for all programs to run at the same time"


def persistent_loop(
    kernel: PersistentKernel,
    steps: int,
    batch: int,
    buffers: Mapping[str, Tensor],
    weight: Tensor,
    constexprs: Mapping[str, Any],
    division: Tiles,
) -> Callable[[], None]:
    """A function that runs a pass on its buffers, with the recurrent weight [GH, H]."""
    run = functions(kernel.source)["run"][(division.programs,)]
    counters = torch.zeros(-(-batch // division.rows) * COUNTERS_APART, dtype=torch.int32, device=weight.device)
    arguments = [buffers.get(name) for name in kernel.buffers]
    # One stage: a load that is moved to an earlier step would read what other programs have not written yet.
    compiled = {
        **OPTIONS,
        "num_warps": division.rows // ROWS_PER_WARP,
        "num_stages": 1,
        "maxnreg": MAX_REGISTERS,
        "launch_cooperative_grid": True,
    }
    options = {} if interpreting() else compiled

    def run_loop() -> None:
        counters.zero_()
        run(steps, batch, PATIENCE, counters, weight, *arguments, **constexprs, **options)

    return run_loop


def persistent_constexprs(constexprs: Mapping[str, Any], division: Tiles, fp32_precision: str) -> dict[str, Any]:
    """The constexpr arguments of the kernels, given those of the others."""
    names = ("H", "VALUE_MASK", "STATE_MASK", "PARAM_DTYPE")
    precision = "tf32" if fp32_precision == "tf32" else "ieee"
    return {
        **{name: constexprs[name] for name in names},
        "ROWS": division.rows,
        "UNITS": division.units,
        "PRECISION": precision,
    }
