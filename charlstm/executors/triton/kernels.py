"""Printed kernels as functions of Triton, and how they are launched."""

from __future__ import annotations

import hashlib
import linecache
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charlstm.compiler.triton_language import PROBE, Kernel
from charlstm.compiler.triton_printer import Program

MIN_BLOCKS = 264  # blocks that a launch has at least if there is enough work: two for each processor of an H100
MIN_BLOCK, MAX_BLOCK = 128, 1024  # elements of a block
ELEMENTS_PER_WARP = (
    128  # elements: with more than four for each thread, the compiler moves bfloat16 through shared memory
)


class Geometry(NamedTuple):
    """How many blocks, of how many elements each, by how many warps."""

    blocks: int
    block: int
    warps: int


def launch_geometry(elements: int) -> Geometry:
    """How ``elements`` are shared out: large blocks as long as every processor has two of them."""
    block = MAX_BLOCK
    while block > MIN_BLOCK and -(-elements // block) < MIN_BLOCKS:
        block //= 2
    return Geometry(-(-elements // block), block, block // ELEMENTS_PER_WARP)


@cache
def functions(source: str) -> Mapping[str, Any]:
    """The functions of a printed source. Triton reads it back by way of ``linecache``: nothing is written to a file
    but what Triton itself keeps of compiled kernels."""
    name = f"<charlstm-{hashlib.sha256(source.encode()).hexdigest()[:20]}>"
    # Without a time of change, as for any source that is in no file, the entry is never taken for outdated.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def constants(units: int, block: int, exact: torch.dtype, training: bool) -> dict[str, Any]:
    """What the kernels are specialised for: see :mod:`charlstm.compiler.triton_printer`."""
    import triton.language as tl

    return {
        "H": units,
        "BLOCK": block,
        "SAME": math.gcd(units, block),
        "KEEP": -1 if training else 0,
        "ALL": -1 if training else 1,
        "PARAM_DTYPE": {torch.float32: tl.float32, torch.float64: tl.float64}[exact],
    }


def on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Launches and streams are those of the tensor's GPU; nothing changes where it is on the CPU."""
    place: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return place


# Sums are rounded as they are written, so that what two cells have in common is equal bit by bit.
OPTIONS = {"enable_fp_fusion": False}


def kernel_launcher(
    program: Program, kernel: Kernel, buffers: Mapping[str, Tensor | None], batch: int, given: Mapping[str, Any]
) -> Callable[[int], None]:
    """A kernel on its buffers: a function of the step."""
    blocks, _, warps = launch_geometry(batch * given["H"])
    run = functions(program.source)[kernel.name][(blocks,)]
    arguments = [buffers[name] for name in kernel.buffers]

    def launch(t: int) -> None:
        run(t, batch, *arguments, **given, num_warps=warps, **OPTIONS)

    return launch


@cache
def launch_error(device: torch.device) -> str | None:
    """Why Triton runs no kernel here; None if it does. It may lack a C compiler, or not fit the driver."""
    room = torch.zeros(1, device=device)
    try:
        with on_device_of(room):
            functions(PROBE)["probe"][(1,)](room, **OPTIONS)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return f"Triton fails here: {lines[0][:200]}"
    return None
