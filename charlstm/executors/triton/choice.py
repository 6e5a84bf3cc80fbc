"""Chooses for each size whether its time loops are CUDA graphs or one kernel each, by measuring both on the device."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from charlstm.compiler.persistent_printer import PersistentKernel, persistent_backward, persistent_forward
from charlstm.compiler.persistent_products import MIN_PARTS, supports_size
from charlstm.executors.measurement_cache import cached_measurement, store_measurement
from charlstm.executors.triton.persistent import Division, Limits, Tiles, gave_up_flag, gave_up_flags, tiles
from charlstm.executors.triton.plans import NOT_DIVIDED, Shape
from charlstm.executors.triton.trial import METHOD, TOLERANCES, TrialError, trial_in_process

LOG = logging.getLogger("charlstm")
GAIN = 0.97
"""A kernel is chosen if it takes at most this fraction of the graph's time: timings are noisy."""
CACHE = "loops"
PRINTERS = {"forward": persistent_forward, "backward": persistent_backward}
GAVE_UP = "a program of it waited in vain for the others"

_kernels: dict[str, tuple[str, ...]] = {}
"""For each size that was measured, or restored, the passes whose loop is one kernel."""
_restored: set[str] = set()
"""Sizes that were restored, and whose kernels have not been tested here yet."""
_refused: dict[str, str] = {}
"""For sizes whose kernels failed, the reason."""
_unmeasured: dict[str, str] = {}
"""For sizes whose kernels cannot be made, or whose trial said nothing about them, the reason."""
_facts: dict[str, tuple[object, ...]] = {}
"""For each size that was measured, what its measurement is cached under."""


def loop_facts() -> dict[str, dict[str, Any]]:
    """The loops of this process, for the records of a run; empty before any is chosen.

    ``one_kernel_loops``: for each size, the passes (forward, backward) whose loop is one kernel;
    ``refused_one_kernel_loops``: for each size whose kernels cannot be used, why, in words.
    """
    facts: dict[str, dict[str, Any]] = {
        "one_kernel_loops": {**_kernels},
        "refused_one_kernel_loops": {**_unmeasured, **_refused},
    }
    return {name: sizes for name, sizes in facts.items() if sizes}


def restore_loops(facts: Mapping[str, Any]) -> None:
    """Choose as in another process, such as the one that a run was stopped in, given its :func:`loop_facts`: both loops
    round differently. Kernels are not measured then, but must still have the right results here."""
    for size, passes in facts.get("one_kernel_loops", {}).items():
        if isinstance(passes, Sequence):  # early versions had one choice for both passes
            _kernels[size] = tuple(passes)
            _restored.add(size)


def choose_division(shape: Shape) -> Division:
    """How the loops of a shape are divided into the programs of one kernel; none for those that are CUDA graphs.

    A size is measured when it is first trained, and the result is cached on this machine. A kernel is taken where it is
    faster and gives the same results as the graph. If ``CHARLSTM_MEASURE`` is 0, nothing is measured: the loops are
    graphs, or what was restored.
    """
    if shape.device.type != "cuda" or not shape.training or shape.steps == 1:
        return NOT_DIVIDED
    size = _size(shape)
    if not torch.cuda.is_current_stream_capturing():
        if os.environ.get("CHARLSTM_MEASURE") == "0":
            _kernels.setdefault(size, ())
        else:
            _decide(shape, size)
        if _kernels[size]:
            gave_up_flag(shape.device)  # before a capture
    passes = _kernels.get(size, ())
    divisions = divisions_by_pass(shape) if passes else {}
    return Division(**{name: tile for name, tile in divisions.items() if name in passes and isinstance(tile, Tiles)})


def refuse_kernels_that_gave_up() -> bool:
    """Whether a kernel has given up, so that its results are not numbers. The loops of all sizes so far are CUDA graphs
    from now on, here and, by the cache, in later processes. Waits for the device."""
    flags = [flag for flag in gave_up_flags() if int(flag)]
    if not flags:
        return False
    for flag in flags:
        flag.zero_()
    for size, passes in _kernels.items():
        if passes:
            _kernels[size], _refused[size] = (), GAVE_UP
            if size in _facts:
                store_measurement(CACHE, _facts[size], {"error": GAVE_UP})
    return True


def divisions_by_pass(shape: Shape) -> dict[str, Tiles | str]:
    """For each pass, how its kernel would be divided, or why it cannot run there."""
    refusal = _refusal(shape)
    if refusal is not None:
        return {"forward": refusal, "backward": refusal}
    limits, itemsize = Limits.of(shape.device), shape.compute_dtype.itemsize
    return {
        name: tiles(shape.batch, shape.hidden_size, _printed(shape, name).gates, itemsize, limits) for name in PRINTERS
    }


def division_of(shape: Shape) -> Division | str:
    """How the kernels of both passes would be divided, or why one cannot run there."""
    divisions = divisions_by_pass(shape)
    reason = next((tile for tile in divisions.values() if isinstance(tile, str)), None)
    return reason or Division(**divisions)  # type: ignore[arg-type]


def _refusal(shape: Shape) -> str | None:
    if not shape.cell.has_recipe:
        return "no other process can make the cell"
    if shape.param_dtype != torch.float32 or shape.compute_dtype not in TOLERANCES:
        return "its sums are in float32"
    if shape.compute_dtype == torch.float32 and shape.fp32_precision != "tf32":
        return "tensor cores multiply numbers in float32 only as TF32"
    if not supports_size(shape.hidden_size):
        return "the number of units is not a multiple of 64"
    return None


def _printed(shape: Shape, name: str, tile: Tiles | None = None) -> PersistentKernel:
    parts = MIN_PARTS if tile is None else tile.parts
    return PRINTERS[name](shape.cell, shape.hidden_size, parts, False)


def _size(shape: Shape) -> str:
    rows = "vectors" if shape.symbols is None else "symbols"
    dtype = str(shape.compute_dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name(shape.device)
    return f"{shape.cell.name}, {shape.batch} x {shape.hidden_size}, {rows}, {dtype}, {shape.fp32_precision}, {name}"


def _decide(shape: Shape, size: str) -> None:
    """Measure a new size, and test the kernels of one that was restored; say which loops it has."""
    is_restored = size in _restored
    if size in _kernels and not is_restored:
        return
    _restored.discard(size)
    if not is_restored:
        _kernels[size] = _faster(shape, size)
    elif _kernels[size]:
        _faster(shape, size)
    if size in _refused:
        _kernels[size] = ()
    loops = ", ".join(f"{name} {'one kernel' if name in _kernels[size] else 'CUDA graph'}" for name in PRINTERS)
    usual = "as when the run began" if is_restored else "the faster on this machine"
    reason = _refused.get(size) or (None if is_restored else _unmeasured.get(size)) or usual
    LOG.info("loop over time of %s: %s: %s", _layer(shape), loops, reason)


def _layer(shape: Shape) -> str:
    return f"{shape.cell.name}, {shape.hidden_size} units, batch {shape.batch}"


def _faster(shape: Shape, size: str) -> tuple[str, ...]:
    """The passes whose kernel is faster than their graph."""
    divisions = divisions_by_pass(shape)
    division = Division(**{name: tile for name, tile in divisions.items() if isinstance(tile, Tiles)})
    if division == NOT_DIVIDED:
        _unmeasured[size] = str(divisions["forward"])
        return ()
    measured = _measured(shape, division, size)
    if reason := _failure(measured):
        _refused[size] = reason
    if measured.get("agree") is not True:
        return ()
    try:
        times = zip(Division._fields, division, measured["graph"], measured["kernel"], strict=True)
        return tuple(name for name, tile, graph, kernel in times if tile is not None and kernel <= GAIN * graph)
    except (KeyError, TypeError, ValueError):  # a damaged file of the cache
        return ()


def _failure(measured: Mapping[str, Any]) -> str | None:
    """Why a measurement does not allow the kernels."""
    if measured.get("agree") is False:
        return f"its results differ {measured.get('differs')}"
    reason = measured.get("error")
    return None if reason is None else f"{reason}"


def _measured(shape: Shape, division: Division, size: str) -> Mapping[str, Any]:
    import triton

    sources = [_printed(shape, name, tile).source for name, tile in zip(PRINTERS, division, strict=True)]
    _facts[size] = (torch.version.cuda, triton.__version__, METHOD, size, division, *sources)
    try:
        return cached_measurement(CACHE, _facts[size], lambda: _trial(shape, division))
    except TrialError as error:
        _unmeasured[size] = f"not measured: {error}"
        return {}


def _trial(shape: Shape, division: Division) -> Mapping[str, Any]:
    LOG.info(
        "measuring the loop over time of %s, as one kernel and as CUDA graphs, once for this machine", _layer(shape)
    )
    return trial_in_process(shape, division)
