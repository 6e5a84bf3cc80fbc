"""Resolves the device and the precision of a run."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.config import check_device_name
from charlstm.distributed import SINGLE_PROCESS, ProcessGroup
from charlstm.errors import UserError
from charlstm.executors import permits
from charlstm.executors.cpp import Cpp, bfloat16_speedup, kernels

MIN_BFLOAT16_SPEEDUP = 1.5

_preferred_gpu: int | None = None


def prefer_gpu(number: int) -> None:
    """Of several NVIDIA GPUs, make ``auto`` and ``cuda`` mean one of them in this process: 0 the first, and so on, and
    after the last the first again."""
    global _preferred_gpu
    _preferred_gpu = number


def resolve_device(name: str, group: ProcessGroup = SINGLE_PROCESS) -> torch.device:
    """``auto``: CUDA, then MPS, then the CPU; of several processes on a machine, each gets the GPU of its local rank.

    Raises UserError for an invalid name, an unavailable device, or one that several processes would share.
    """
    try:
        check_device_name(name)
    except ValueError as error:
        raise UserError(f"device: {error}") from None
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if group.size > 1:
        return _device_of_rank(name, group, cuda)
    if cuda and name in ("auto", "cuda") and _preferred_gpu is not None and (count := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(_preferred_gpu % count)
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = torch.device(name)
    is_available = {"cuda": cuda, "mps": mps}.get(device.type, True)
    if not is_available or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name} is not available; use device: auto or cpu")
    return device


def _device_of_rank(name: str, group: ProcessGroup, cuda: bool) -> torch.device:
    """The device of one of several processes."""
    device = torch.device("cuda" if cuda else "cpu") if name == "auto" else torch.device(name)
    if device.type == "mps":
        raise UserError("several processes cannot train together on mps: use device: cpu, or a single process")
    if device.type == "cpu":
        return device
    if device.index is not None and group.local_size > 1:
        raise UserError(
            f"device: {name} is one GPU for {group.local_size} processes on this machine: use device: cuda, "
            "which gives each process one GPU"
        )
    if device.index is None:
        device = torch.device("cuda", group.local_rank)
    count = torch.cuda.device_count() if cuda else 0
    if (device.index or 0) >= count:
        raise UserError(
            f"device {device} is not available: {group.local_size} processes on this machine, {count} GPUs. "
            + (f"Start the run with --nproc-per-node={count}" if count else "Use device: auto or cpu")
        )
    return device


def resolve_precision(name: str, device: torch.device, cell: Cell, executor: str = "auto") -> str:
    """``auto``: bfloat16 on a GPU that supports it and on a CPU on which it is faster, float32 elsewhere.

    It is faster on a CPU with a matrix unit (AMX). On a CPU with only bfloat16 instructions it is if the cpp executor
    runs the cell and large matmuls were measured to be at least ``MIN_BFLOAT16_SPEEDUP`` times as fast: in other
    executors, dtype conversions cost more than the matmuls save.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        # Not torch.cuda.is_bf16_supported: it asks about the current device, which may be another one.
        supported = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if supported else "float32"
    if device.type != "cpu":
        return "float32"
    if getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return "bfloat16"
    if not permits(executor, Cpp()) or bfloat16_speedup() < MIN_BFLOAT16_SPEEDUP:
        return "float32"  # before kernels are compiled for bfloat16
    return "float32" if isinstance(kernels(cell, torch.bfloat16), str) else "bfloat16"


class Memory(NamedTuple):
    """Bytes of a device: in all, available to this process, and allocated by its tensors."""

    total: int
    free: int
    allocated: int


def memory(device: torch.device) -> Memory | None:
    """The memory of a GPU; None for a device that does not report it. Memory cached by the allocator counts as free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        allocated = torch.cuda.memory_allocated(device)
        return Memory(total, free + torch.cuda.memory_reserved(device) - allocated, allocated)
    if device.type == "mps":
        total, allocated = torch.mps.recommended_max_memory(), torch.mps.current_allocated_memory()
        return Memory(total, total - allocated, allocated)
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes of GPU memory available to this process; None if the device does not report it."""
    status = memory(device)
    return None if status is None else status.free


def get_rng_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators by device type: that of the CPU, and that of the GPU in use."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Restore the result of :func:`get_rng_states`; states of other device types are ignored."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def retain_freed_memory() -> None:
    """Make the C library retain freed memory, which saves page faults in every training step (glibc only)."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)
