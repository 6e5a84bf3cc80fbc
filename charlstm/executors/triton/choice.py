"""Chooses for each size whether a time loop is a CUDA graph or one kernel, by measuring both on the device."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from charlstm.cells import Cell, from_recipe
from charlstm.compiler.persistent_printer import PersistentKernel, persistent_backward, persistent_forward
from charlstm.compiler.persistent_products import supports_size
from charlstm.executors.measurement_cache import cached_measurement
from charlstm.executors.triton.persistent import Limits, Tiles, tiles
from charlstm.executors.triton.plans import Shape
from charlstm.executors.triton.trial import TOLERANCES, TrialError, trial_in_process

GAIN = 0.97
"""The kernel is chosen if it takes at most this fraction of the graph's time: timings are noisy."""

_is_kernel: dict[str, bool] = {}


def choices() -> dict[str, bool]:
    """For each size that was measured, or restored, whether its loops are one kernel each."""
    return dict(_is_kernel)


def restore_choices(saved: Mapping[str, bool]) -> None:
    """Choose as in another process, such as the one that a run was stopped in: both loops round differently."""
    _is_kernel.update(saved)


def choose_division(shape: Shape) -> Tiles | None:
    """How the loops of a shape are divided into the programs of one kernel; None if they are CUDA graphs.

    A size is measured when it is first trained, unless ``CHARLSTM_MEASURE`` is 0, and the result is cached on this
    machine. The kernel is taken where it is faster and gives the same results as the graph.
    """
    if shape.device.type != "cuda" or not shape.training:
        return None
    size = _size(shape)
    if size not in _is_kernel:
        if os.environ.get("CHARLSTM_MEASURE") == "0" or torch.cuda.is_current_stream_capturing():
            return None
        division = division_of(shape)
        _is_kernel[size] = isinstance(division, Tiles) and _is_faster(shape, division, size)
    if not _is_kernel[size]:
        return None
    return division if isinstance(division := division_of(shape), Tiles) else None


def division_of(shape: Shape) -> Tiles | str:
    """How one kernel would be divided, or why it cannot run there."""
    cell = shape.cell
    if not _has_recipe(cell):
        return "no other process can make the cell"
    if shape.param_dtype != torch.float32 or shape.compute_dtype not in TOLERANCES:
        return "its sums are in float32"
    if not supports_size(shape.hidden_size):
        return "the number of units is not a multiple of 64"
    gates = max(kernel.gates for kernel in _kernels(shape))
    limits = Limits.of(shape.device)
    return tiles(shape.batch, shape.hidden_size, gates, shape.compute_dtype.itemsize, limits)


def _has_recipe(cell: Cell) -> bool:
    try:
        return from_recipe(cell.recipe) is cell
    except KeyError:
        return False


def _kernels(shape: Shape) -> list[PersistentKernel]:
    return [print_(shape.cell, shape.hidden_size, False) for print_ in (persistent_forward, persistent_backward)]


def _size(shape: Shape) -> str:
    rows = "vectors" if shape.symbols is None else "symbols"
    dtype = str(shape.compute_dtype).removeprefix("torch.")
    return f"{shape.cell.name}, {shape.batch} x {shape.hidden_size}, {rows}, {dtype}, {shape.fp32_precision}"


def _is_faster(shape: Shape, division: Tiles, size: str) -> bool:
    import triton

    sources = [kernel.source for kernel in _kernels(shape)]
    facts = (torch.cuda.get_device_name(shape.device), torch.version.cuda, triton.__version__, size, division, *sources)
    try:
        measured = cached_measurement("loops", facts, lambda: trial_in_process(shape, division))
    except TrialError:
        return False
    seconds, kernel_seconds = measured.get("graph"), measured.get("kernel")
    if not isinstance(seconds, float) or not isinstance(kernel_seconds, float):
        return False
    return measured.get("agree") is True and kernel_seconds <= GAIN * seconds
