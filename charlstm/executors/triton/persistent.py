"""The time loops as one kernel each: see :mod:`charlstm.compiler.persistent_printer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charlstm.compiler.persistent_printer import COUNTERS_APART, PersistentKernel
from charlstm.compiler.persistent_products import MAX_CHUNK, MIN_PARTS, MIN_ROWS, supports_size
from charlstm.executors.triton.kernels import OPTIONS, functions, interpreting

UNITS = 16
"""Units of a program: the fewest columns of a product on tensor cores, so that the weights are divided among as many
programs as possible."""
ROWS = (MIN_ROWS, 2 * MIN_ROWS)
"""Rows of a program; the second if there are not enough multiprocessors for the first."""
PARTS = (2 * MIN_PARTS, MIN_PARTS)
"""Parts of each sum; the second if there is too little shared memory for the first."""
MAX_REGISTERS = 255
"""Registers of a thread, the hardware's limit. By default the compiler would spill some to memory so that several
programs fit on a multiprocessor, but each runs only one."""
MAX_ROWS_PER_WARP = 4
"""More rows would need more registers than there are."""
PATIENCE = 1 << 22
"""How often a program reads a counter before it gives up, which takes some seconds. Programs that run at the same time
meet within microseconds."""


@dataclass(frozen=True)
class Limits:
    """The multiprocessors of a GPU, and the bytes of shared memory that one program may use."""

    processors: int
    shared_bytes: int

    @classmethod
    def of(cls, device: torch.device) -> Limits:
        """The limits of a device."""
        properties: Any = torch.cuda.get_device_properties(device)
        return cls(properties.multi_processor_count, properties.shared_memory_per_block_optin)


@dataclass(frozen=True)
class Tiles:
    """How a pass is divided: into ``programs``, each of which computes a tile of ``rows`` x ``units``, with each sum in
    ``parts`` that are computed side by side."""

    programs: int
    rows: int
    units: int
    parts: int = MIN_PARTS

    @property
    def warps(self) -> int:
        """Warps of a program: one or two for each part."""
        return max(self.rows // MAX_ROWS_PER_WARP, self.parts)

    def shared_bytes(self, hidden_size: int, gates: int, itemsize: int) -> int:
        """Bytes of shared memory that a program needs at most: for the weights of ``gates`` gates, and the operand of
        one product."""
        return (gates * self.units * hidden_size + self.parts * self.rows * MAX_CHUNK) * itemsize


class Division(NamedTuple):
    """How each pass is divided into programs if its loop is one kernel; None if its loop is a CUDA graph."""

    forward: Tiles | None = None
    backward: Tiles | None = None


def tiles(batch: int, hidden_size: int, gates: int, itemsize: int, limits: Limits) -> Tiles | str:
    """The division into programs that all run at the same time, one on each multiprocessor, with the weights of
    ``gates`` gates in shared memory; or why there is none, in words."""
    for rows in ROWS:
        programs = -(-batch // rows) * (hidden_size // UNITS)
        if programs > limits.processors:
            continue
        for parts in PARTS:
            division = Tiles(programs, rows, UNITS, parts)
            needed = division.shared_bytes(hidden_size, gates, itemsize)
            if supports_size(hidden_size, parts) and needed <= limits.shared_bytes:
                return division
        return "the recurrent weights do not fit in shared memory"
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
    gave_up = gave_up_flag(weight.device)
    counters = torch.zeros(-(-batch // division.rows) * COUNTERS_APART, dtype=torch.int32, device=weight.device)
    arguments = [buffers.get(name) for name in kernel.buffers]
    # One stage: a load that is moved to an earlier step would read what other programs have not written yet.
    compiled = {
        **OPTIONS,
        "num_warps": division.warps,
        "num_stages": 1,
        "maxnreg": MAX_REGISTERS,
        "launch_cooperative_grid": True,
    }
    options = {} if interpreting() else compiled

    def run_loop() -> None:
        counters.zero_()
        run(steps, batch, PATIENCE, counters, gave_up, weight, *arguments, **constexprs, **options)

    return run_loop


_gave_up: dict[torch.device, Tensor] = {}


def gave_up_flag(device: torch.device) -> Tensor:
    """The flag of a device, int32 [1]: not zero once a program of a kernel has given up waiting, whose results are NaN.

    It outlives the kernels' other buffers. The first call for a device must not be within the capture of a CUDA graph.
    """
    if device not in _gave_up:
        with torch.inference_mode(False):
            _gave_up[device] = torch.zeros(1, dtype=torch.int32, device=device)
    return _gave_up[device]


def gave_up_flags() -> list[Tensor]:
    """The flags of all devices that have one."""
    return [*_gave_up.values()]


def persistent_constexprs(constexprs: Mapping[str, Any], division: Tiles, fp32_precision: str) -> dict[str, Any]:
    """The constexpr arguments of a loop's kernel, from those of :func:`kernels.constexpr_arguments`."""
    names = ("H", "VALUE_MASK", "STATE_MASK", "PARAM_DTYPE")
    precision = "tf32" if fp32_precision == "tf32" else "ieee"
    return {
        **{name: constexprs[name] for name in names},
        "ROWS": division.rows,
        "UNITS": division.units,
        "PRECISION": precision,
    }
