"""Where contenders run: when a device is done, how it multiplies, and what it is."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from charlstm import __version__
from charlstm.benchmark.round_robin import NO_MEMORY
from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors import clear_plan_cache
from charlstm.executors.cpp import imitates_bfloat16
from charlstm.executors.vendor import cannot_run

DRIVER = Path("/proc/driver/nvidia/version")


def waiting(device: torch.device) -> Callable[[], None]:
    """Waits until the device has done all that it was given; the CPU always has."""
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def warm_up(device: torch.device) -> int:
    """Runs after which a contender has made what it makes once: on an NVIDIA GPU a recording is made in the second."""
    return 3 if device.type == "cuda" else 2


def before_turn(device: torch.device) -> int:
    """Runs after which a contender has made again what :func:`after_turn` gave up: a shape that is known is recorded
    in the first, and the second is as any other."""
    return 2 if device.type == "cuda" else 0


def after_turn(device: torch.device) -> Callable[[], None]:
    """Gives up what a turn leaves behind on a device: recordings, of which only so many are kept, and memory."""
    return clear_plan_cache if device.type == "cuda" else lambda: None


def fitting(run: Callable[[], None]) -> None:
    """Run it. Raises UserError if it needs more memory than the device has."""
    try:
        run()
    except torch.OutOfMemoryError:
        full = True
    else:
        full = False
    if full:  # beyond the handler, where nothing holds what the run had made
        clear_plan_cache()
        raise UserError(NO_MEMORY)


def usual_precisions(device: torch.device) -> tuple[str, ...]:
    """The types of products that are measured unless others are asked for: on a CPU that only imitates bfloat16, where
    a step may take a minute, float32 alone."""
    slow = device.type == "cpu" and imitates_bfloat16()
    return ("float32",) if slow else ("float32", "bfloat16")


def notes(device: torch.device) -> list[str]:
    """What the figures of a device do not say by themselves."""
    found = []
    if device.type == "cuda":
        found.append("float32 products are made in TF32, by all contenders and for the peak")
    if cannot_run(CELLS["lstm"], device.type, torch.float32, torch.bfloat16):
        return found
    layer = nn.LSTM(8, 8).to(device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        dtype = layer(torch.zeros(1, 1, 8, device=device))[0].dtype
    if dtype != torch.bfloat16:
        name = str(dtype).removeprefix("torch.")
        found.append(f"under bfloat16 autocast torch.nn.LSTM computes in {name} here; vendor is cuDNN in bfloat16")
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    facts = {
        "cpu": _cpu(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "torch": torch.__version__,
        "charlstm": __version__,
        "device": device.type,
    }
    return {**facts, **_gpu(device)} if device.type == "cuda" else facts


def described(facts: dict[str, Any]) -> str:
    """The machine in a line."""
    if "gpu" not in facts:
        where = f"{facts['cpu'] or 'unknown processor'}, {facts['threads']} threads"
        return f"{where}, torch {facts['torch']}" + (", on MPS" if facts.get("device") == "mps" else "")
    versions = (f"{name} {facts[name]}" for name in ("driver", "cuda", "cudnn", "triton", "torch") if facts[name])
    return f"{facts['gpu']} with {facts['gpu_memory_bytes'] / 2**30:.0f} GiB, {', '.join(versions)}"


def _gpu(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    cudnn: Any = torch.backends.cudnn
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = None
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "triton": triton,
    }


def _driver() -> str | None:
    """The version of NVIDIA's driver as Linux tells it."""
    try:
        first = DRIVER.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", first)
    return found and found[0]


def _cpu() -> str | None:
    """The processor's name as Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor()) or None
