"""What this machine has and lacks for training, with a remedy for each lack."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from charlstm import __version__
from charlstm.benchmark.environment import describe_machine, machine_facts
from charlstm.cache import user_cache_folder
from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors.cpp.build import kernels
from charlstm.executors.triton.executor import device_refusal
from charlstm.executors.triton.kernels import launch_error
from charlstm.files import existing_folder, why_not_writable
from charlstm.hardware.device import resolve_device, resolve_precision
from charlstm.hardware.main_memory import format_bytes, free_main_memory

MIN_MEMORY = 2 * 2**30
MIN_DISK = 2**30
EXTRAS = {"cluster": "distributed", "onnx": "onnx", "tensorboard": "tensorboard"}
"""Optional extras, with the module that each installs."""


@dataclass(frozen=True)
class Check:
    """One thing that a machine has, or lacks; ``remedy`` is empty if nothing is to be done."""

    name: str
    result: str
    remedy: str = ""


def checks(runs: Path) -> Iterator[Check]:
    """Check versions, devices, compiler, memory and folders, one after the other; ``runs`` is where runs are written.

    The compiler check builds the kernels of an LSTM, if they are not cached; that can take some seconds.
    """
    yield Check("charlstm", f"{__version__}, Python {platform.python_version()}, torch {torch.__version__}")
    yield _device()
    yield _compiler()
    device = resolve_device("auto")
    if device.type == "cuda" and device_refusal(device, torch.float32) is None and find_spec("triton") is not None:
        yield _triton(device)
    yield Check("precision", f"training.precision=auto is {resolve_precision('auto', device, CELLS['lstm'])} here")
    yield _memory()
    yield _folder("cache", user_cache_folder(), "set CHARLSTM_CACHE to a folder that is writable")
    yield _folder("runs", runs, "give a folder that is writable: --runs FOLDER")
    encoding = sys.stdout.encoding or "unknown"
    remedy = "" if encoding.lower().replace("-", "") == "utf8" else "set PYTHONUTF8=1, so that every text can be shown"
    yield Check("output", f"encoding {encoding}", remedy)
    for extra, module in EXTRAS.items():
        missing = find_spec(module) is None
        yield Check(
            f"extra {extra}", "not installed" if missing else "installed", f"pip install 'charlstm[{extra}]'" * missing
        )


def _device() -> Check:
    try:
        device = resolve_device("auto")
        facts = machine_facts(device)
    except (UserError, RuntimeError) as error:
        return Check("device", str(error), "update the driver of the GPU, or train with --device cpu")
    remedy = ""
    if device.type == "cuda" and facts.get("triton") is None:
        remedy = "install triton: cells that cuDNN does not have train much faster with it"
    return Check("device", describe_machine(facts), remedy)


def _compiler() -> Check:
    built = kernels(CELLS["lstm"], torch.float32)
    if isinstance(built, str):
        what = "correct or unset $CXX" if built.startswith("$CXX") else "install g++ or clang"
        return Check("C++ compiler", built, f"{what}: on a CPU, most cells train several times as fast")
    return Check("C++ compiler", f"works, for {torch.backends.cpu.get_cpu_capability()}")


def _triton(device: torch.device) -> Check:
    try:
        error = launch_error(device)
    except RuntimeError as unavailable:  # such as too little memory
        return Check("Triton", str(unavailable).partition("\n")[0], "close other programs that use the GPU")
    remedy = "install gcc and the headers of Python, or a newer driver"
    return Check("Triton", error or "works", remedy if error else "")


def _memory() -> Check:
    free = free_main_memory()
    if free is None:
        return Check("memory", "this system does not report it")
    remedy = "close other programs, or train smaller networks" if free < MIN_MEMORY else ""
    return Check("memory", f"{format_bytes(free)} free", remedy)


def _folder(name: str, folder: Path, remedy: str) -> Check:
    """Whether files can be written into a folder, or into the nearest one above it that exists."""
    if problem := why_not_writable(folder):
        return Check(name, problem, remedy)
    free = shutil.disk_usage(existing_folder(folder)).free
    return Check(name, f"{folder}, {format_bytes(free)} free", "free some space" if free < MIN_DISK else "")
