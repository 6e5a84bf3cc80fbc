"""Where to compute, and in which precision."""

from __future__ import annotations

import ctypes
import platform

import torch

from charlstm.cells import Cell
from charlstm.errors import UserError
from charlstm.executors.native import bfloat16_gain, kernels
from charlstm.training.team import ALONE, Team

WORTHWHILE = 1.5


def resolve_device(asked: str, team: Team = ALONE) -> torch.device:
    """``auto``: CUDA, then MPS, then the CPU; of several processes on a machine, to each the GPU of its number.

    Raises UserError for a device that is not there, or that several processes would have to share.
    """
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


def _one_of(asked: str, team: Team, cuda: bool) -> torch.device:
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

    A CPU with a matrix unit (AMX) does. One that has only bfloat16 instructions does where the native executor runs the
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
    native = executor in ("auto", "native") and not isinstance(kernels(cell, torch.bfloat16), str)
    return "bfloat16" if native and bfloat16_gain() >= WORTHWHILE else "float32"


def keep_memory() -> None:
    """Tell the C library to keep freed memory: a training step then does not pay for fresh pages again (glibc only)."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)
