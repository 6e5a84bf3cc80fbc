"""The machine that candidates run on: synchronization, warm-up, default precisions, and its description."""

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
from charlstm.executors.cpp import emulates_bfloat16
from charlstm.executors.vendor import training_error

DRIVER = Path("/proc/driver/nvidia/version")


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits for all work queued on the device; on the CPU it returns at once."""
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def warm_up_runs(device: torch.device) -> int:
    """Warm-up runs, after which a candidate creates nothing more: on an NVIDIA GPU the first of a captured run, and the
    second of another, capture CUDA graphs."""
    return 3 if device.type == "cuda" else 2


def untimed_runs(device: torch.device) -> int:
    """Untimed runs at the beginning of a turn, in which a candidate captures again what was freed after its last turn:
    the first captures, the second is like any other."""
    return 2 if device.type == "cuda" else 0


def cleanup(device: torch.device) -> Callable[[], None]:
    """A function that frees what a turn leaves on the device: memory and CUDA graphs, whose number is limited."""
    return clear_plan_cache if device.type == "cuda" else lambda: None


def refuse_out_of_memory(run: Callable[[], None]) -> None:
    """Run it. Raises UserError if it needs more memory than the device has."""
    try:
        run()
    except torch.OutOfMemoryError:
        is_full = True
    else:
        is_full = False
    if is_full:  # outside the handler, where no traceback holds the tensors of the run
        clear_plan_cache()
        raise UserError(NO_MEMORY)


def default_precisions(device: torch.device) -> tuple[str, ...]:
    """The precisions that are measured by default: only float32 on a CPU that emulates bfloat16, where a step may take
    a minute; on an NVIDIA GPU also float16, for torch.nn."""
    if device.type == "cuda":
        return ("float32", "bfloat16", "float16")
    slow = device.type == "cpu" and emulates_bfloat16()
    return ("float32",) if slow else ("float32", "bfloat16")


def notes(device: torch.device) -> list[str]:
    """How to read the results of a device."""
    result = []
    if device.type == "cuda":
        result.append("float32 matrix products use TF32, in all candidates and for the peak")
    if training_error(CELLS["lstm"], device.type, torch.float32, torch.bfloat16):
        return result
    layer = nn.LSTM(8, 8).to(device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        dtype = layer(torch.zeros(1, 1, 8, device=device))[0].dtype
    if dtype != torch.bfloat16:
        name = str(dtype).removeprefix("torch.")
        result.append(f"under bfloat16 autocast torch.nn.LSTM computes in {name} here; vendor is cuDNN in bfloat16")
    return result


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Processor, device and versions."""
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


def describe_machine(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    if "gpu" not in facts:
        threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
        processor = f"{facts['cpu'] or 'unknown processor'}, {threads}"
        return f"{processor}, torch {facts['torch']}" + (", on MPS" if facts.get("device") == "mps" else "")
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
    """The version of NVIDIA's driver, from Linux' /proc."""
    try:
        first = DRIVER.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None
    match = re.search(r"\b\d+\.\d+(\.\d+)?\b", first)
    return match and match[0]


def _cpu() -> str | None:
    """The processor's name, from Linux' /proc, else from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor()) or None
