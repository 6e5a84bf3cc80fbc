"""Compiles a cell's kernels at first use and keeps them in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import torch

from charlstm.cache import user_cache_folder
from charlstm.cells import Cell
from charlstm.executors.cpp_code import backward_loop, forward_loop

LOG = logging.getLogger("charlstm")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
PRODUCT_TYPES = {torch.float32: "float", torch.bfloat16: "bf16"}
TIME_LIMIT = 120.0  # seconds


class BuildError(Exception):
    """Why there are no native kernels here, in a few words."""


@cache
def kernels(cell: Cell, dtype: torch.dtype) -> ctypes.CDLL | str:
    """The kernels of a cell with products in ``dtype``, built if need be; or why there are none."""
    try:
        return _load(_built(cell, dtype), dtype)
    except BuildError as reason:
        return str(reason)


def source(cell: Cell, dtype: torch.dtype) -> str:
    """The whole C++ source of a cell's kernels."""
    folder = Path(__file__).parent
    parts = [
        (folder / "runtime.h").read_text(encoding="utf-8"),
        f"using P = {PRODUCT_TYPES[dtype]};\nconstexpr int64_t GATES = {len(cell.gates)};\n",
        forward_loop(cell).source,
        backward_loop(cell).source,
        f"static inline const P* output(const ForwardBuffers& b) {{ return b.l_{cell.state[0]}; }}\n",
        (folder / "writing.h").read_text(encoding="utf-8"),
        (folder / "entry.h").read_text(encoding="utf-8"),
    ]
    return "\n".join(parts)


def _built(cell: Cell, dtype: torch.dtype) -> Path:
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise BuildError(f"it is made for Linux on x86-64, not for {platform.system()} on {platform.machine()}")
    if "avx2" not in _processor():
        raise BuildError("the CPU has no AVX2")
    compiler = _compiler()
    text = source(cell, dtype)
    identity = [text, *OPTIONS, *compiler, _stamp(compiler[0]), torch.__version__, _processor(), *_libraries()]
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:20]
    folder = user_cache_folder() / "kernels"
    target = folder / f"{cell.name}-{PRODUCT_TYPES[dtype]}-{digest}.so"
    if not target.exists():
        _compile(compiler, text, target, f"{cell.name} ({str(dtype).removeprefix('torch.')})")
    return target


def _compiler() -> list[str]:
    asked = shlex.split(os.environ.get("CXX", ""))
    for command in (asked, ["c++"], ["g++"], ["clang++"]):
        found = shutil.which(command[0]) if command else None
        if found:
            return [found, *command[1:]]
    raise BuildError("there is no C++ compiler (c++, g++ or clang++ on the path, or $CXX)")


def _stamp(program: str) -> str:
    facts = Path(program).resolve().stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


@cache
def _processor() -> str:
    """What the CPU is and can do."""
    wanted = ("model name", "flags")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if line.startswith(wanted))


@cache
def _libraries() -> tuple[str, ...]:
    """torch's library with the products, and the OpenMP runtime that it has loaded."""
    paths = {Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    openmp = sorted(str(p) for p in paths if p.name.startswith(("libgomp", "libiomp", "libomp")))
    if not openmp:
        raise BuildError("this torch is built without OpenMP")
    return (str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), openmp[0])


def _compile(compiler: list[str], text: str, target: Path, what: str) -> None:
    LOG.info("compiling native kernels for %s, once for this machine", what)
    start = time.perf_counter()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
            made = Path(folder, "kernels.so")
            Path(folder, "kernels.cpp").write_text(text, encoding="utf-8")
            command = [*compiler, *OPTIONS, "kernels.cpp", "-o", made.name, *_libraries()]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
            if done.returncode != 0:
                lines = done.stderr.splitlines()
                first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
                raise BuildError(f"the C++ compiler failed: {first.strip()[:200]}")
            made.replace(target)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the C++ compiler took more than {TIME_LIMIT:.0f} s") from error
    except OSError as error:
        where = error.filename or target.parent
        raise BuildError(f"the kernels could not be kept: {where}: {error.strerror or error}") from error
    LOG.info("compiled in %.1f s", time.perf_counter() - start)


def _load(path: Path, dtype: torch.dtype) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the kernels do not load: {error}") from error
    if not library.products_work():
        raise BuildError(f"torch makes no packed {str(dtype).removeprefix('torch.')} products on this CPU")
    return library
