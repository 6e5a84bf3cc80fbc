"""Compiles generated source to Triton functions and launches them."""

from __future__ import annotations

import hashlib
import linecache
import math
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charlstm.compiler.loops import masks
from charlstm.compiler.triton_language import PROBE, Kernel
from charlstm.compiler.triton_printer import Program

MIN_BLOCKS = 264
"""Blocks of a launch, if there are enough elements: two per multiprocessor of an H100."""
MIN_BLOCK, MAX_BLOCK = 128, 1024  # elements of a block
ELEMENTS_PER_WARP = 128
"""With more than four elements for each thread, the compiler moves bfloat16 through shared memory."""
OPTIONS = {"enable_fp_fusion": False}
"""Without fused multiply-adds, so that cells with common equations have bit-identical results."""


class Geometry(NamedTuple):
    """The number of blocks, the elements of a block, and its number of warps."""

    blocks: int
    block: int
    warps: int


def launch_geometry(elements: int) -> Geometry:
    """Divide ``elements`` into the largest blocks that give every multiprocessor two of them."""
    block = MAX_BLOCK
    while block > MIN_BLOCK and -(-elements // block) < MIN_BLOCKS:
        block //= 2
    return Geometry(-(-elements // block), block, block // ELEMENTS_PER_WARP)


@cache
def functions(source: str) -> Mapping[str, Any]:
    """The functions of a generated source. Triton reads the source through ``linecache``, so no file is written
    except in Triton's cache."""
    name = f"<charlstm-{hashlib.sha256(source.encode()).hexdigest()[:20]}>"
    # Without an mtime, as for any source without a file, linecache never invalidates the entry.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def constexpr_arguments(hidden_size: int, block: int, param_dtype: torch.dtype, training: bool) -> dict[str, Any]:
    """The constexpr arguments of the kernels: see :mod:`charlstm.compiler.triton_printer`."""
    import triton.language as tl

    return {
        "H": hidden_size,
        "BLOCK": block,
        "SAME": math.gcd(hidden_size, block),
        "VALUE_MASK": masks(training)["value"],
        "STATE_MASK": masks(training)["state"],
        "PARAM_DTYPE": {torch.float32: tl.float32, torch.float64: tl.float64}[param_dtype],
    }


def interpreting() -> bool:
    """Whether Triton interprets kernels instead of compiling them."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Make the tensor's GPU the current device; does nothing for a tensor on the CPU."""
    context: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return context


def kernel_launcher(
    program: Program, kernel: Kernel, buffers: Mapping[str, Tensor], batch: int, constexprs: Mapping[str, Any]
) -> Callable[[int], None]:
    """A function of the step that launches a kernel on its buffers."""
    blocks, _, warps = launch_geometry(batch * constexprs["H"])
    run = functions(program.source)[kernel.name][(blocks,)]
    arguments = [buffers.get(name) for name in kernel.buffers]

    def launch(t: int) -> None:
        run(t, batch, *arguments, **constexprs, num_warps=warps, **OPTIONS)

    return launch


@cache
def launch_error(device: torch.device) -> str | None:
    """Why Triton cannot launch a kernel here, such as a missing C compiler or an old driver; None if it can."""
    out = torch.zeros(1, device=device)
    try:
        with on_device_of(out):
            functions(PROBE)["probe"][(1,)](out, **OPTIONS)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return f"Triton fails here: {lines[0][:200]}"
    return None
