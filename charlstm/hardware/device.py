"""Where to compute, and in which precision."""

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
from charlstm.executors.cpp import Cpp, bfloat16_gain, kernels

WORTHWHILE = 1.5


def resolve_device(asked: str, team: ProcessGroup = SINGLE_PROCESS) -> torch.device:
    """``auto``: CUDA, then MPS, then the CPU; of several processes on a machine, to each the GPU of its number.

    Raises UserError for a name that is none of a device, a device that is not there, or that several processes would
    have to share.
    """
    try:
        check_device_name(asked)
    except ValueError as error:
        raise UserError(f"device: {error}") from None
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if team.size > 1:
        return _one_of(asked, team, cuda)
    if asked == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = torch.device(asked)
    there = {"cuda": cuda, "mps": mps}.get(device.type, True)
    if not there or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"there is no device {asked} here; use device: auto or cpu")
    return device


def _one_of(asked: str, team: ProcessGroup, cuda: bool) -> torch.device:
    """The device of one process of a team."""
    device = torch.device("cuda" if cuda else "cpu") if asked == "auto" else torch.device(asked)
    if device.type == "mps":
        raise UserError("several processes cannot train together on mps: use device: cpu, or a single process")
    if device.type == "cpu":
        return device
    if device.index is not None and team.local_size > 1:
        raise UserError(
            f"device: {asked} is one GPU for {team.local_size} processes on this machine: use device: cuda, "
            "with which each takes its own"
        )
    if device.index is None:
        device = torch.device("cuda", team.local_rank)
    count = torch.cuda.device_count() if cuda else 0
    if (device.index or 0) >= count:
        raise UserError(
            f"there is no device {device} here: {team.local_size} processes on this machine, {count} GPUs. "
            + (f"Start it with --nproc-per-node={count}" if count else "Use device: auto or cpu")
        )
    return device


def resolve_precision(asked: str, device: torch.device, cell: Cell, executor: str = "auto") -> str:
    """``auto``: bfloat16 on a GPU that has it and on a CPU that multiplies faster with it, float32 elsewhere.

    A CPU with a matrix unit (AMX) does. One that has only bfloat16 instructions does where the cpp executor runs the
    cell, if large products were measured to be at least ``WORTHWHILE`` times as fast: other executors lose in rounding
    to and fro what the products save.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu":
        return "float32"
    if getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return "bfloat16"
    if not permits(executor, Cpp()) or bfloat16_gain() < WORTHWHILE:
        return "float32"  # before any kernel is compiled for bfloat16
    return "float32" if isinstance(kernels(cell, torch.bfloat16), str) else "bfloat16"


class Memory(NamedTuple):
    """Bytes of a device: all of them, those that this process could still take, and those its tensors hold."""

    total: int
    free: int
    held: int


def memory(device: torch.device) -> Memory | None:
    """The memory of a GPU; None for a device that does not tell. What torch keeps in store for itself is free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_allocated(device)
        return Memory(total, free + torch.cuda.memory_reserved(device) - held, held)
    if device.type == "mps":
        total, held = torch.mps.recommended_max_memory(), torch.mps.current_allocated_memory()
        return Memory(total, total - held, held)
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process could still take of a GPU's memory."""
    found = memory(device)
    return None if found is None else found.free


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators, by kind of device: that of the CPU, and that of the GPU in use."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Put back what :func:`random_states` gave, as far as it is of this kind of device."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def keep_memory() -> None:
    """Tell the C library to keep freed memory: a training step then does not pay for fresh pages again (glibc only)."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)
