"""Compiles a cell's kernels at first use and caches them in the user's cache folder."""

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

from charlstm.cache import open_atomic, user_cache_folder
from charlstm.cells import Cell
from charlstm.compiler.cpp_printer import backward_code, forward_code
from charlstm.errors import UserError

LOG = logging.getLogger("charlstm")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
COMPUTE_DTYPES = {torch.float32: "float", torch.bfloat16: "uint16_t"}
TIME_LIMIT = 120.0  # seconds
NO_BFLOAT16 = "torch has no packed bfloat16 matmuls on this CPU"
DIGEST = 32  # bytes of a SHA-256


_unsupported_dtypes: set[torch.dtype] = set()
"""Compute dtypes whose matmuls failed on this machine, for any cell."""


class BuildError(Exception):
    """Why there are no C++ kernels on this machine, in a few words."""


@cache
def kernels(cell: Cell, dtype: torch.dtype) -> ctypes.CDLL | str:
    """The kernels of a cell with matmuls in ``dtype``, built if necessary; or why there are none."""
    if dtype == torch.bfloat16 and (dtype in _unsupported_dtypes or not torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return NO_BFLOAT16  # before a compilation that would be of no use
    try:
        library = load_library(cell.name, dtype, source(cell))
    except BuildError as reason:
        return str(reason)
    if not library.matmul_works():
        _unsupported_dtypes.add(dtype)
        return NO_BFLOAT16 if dtype == torch.bfloat16 else "torch has no packed matmuls on this CPU"
    return library


def source(cell: Cell) -> str:
    """The C++ source of a cell's kernels."""
    entry = Path(__file__).with_name("entry.h").read_text(encoding="utf-8")
    return "\n".join([forward_code(cell).source, backward_code(cell).source, entry])


def load_library(name: str, dtype: torch.dtype, source: str) -> ctypes.CDLL:
    """The library of a C++ source that uses vectors.h and runtime.h, with matmuls in ``dtype``: from the cache, or
    compiled. Raises BuildError.

    name: the name of the library in the cache and in the message about the compilation.
    """
    folder = Path(__file__).parent
    parts = [
        f"#include <cstdint>\nusing P = {COMPUTE_DTYPES[dtype]};",
        *((folder / file).read_text(encoding="utf-8") for file in ("vectors.h", "runtime.h")),
        source,
    ]
    full_source = "\n".join(parts)
    description = f"{name} ({str(dtype).removeprefix('torch.')})"
    path = _path(name, dtype, full_source)
    if not _is_intact(path):
        _compile(description, full_source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the kernels cannot be loaded: {error}") from error


def _path(name: str, dtype: torch.dtype, source: str) -> Path:
    """The cache file of a source, for this machine, compiler and torch."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise BuildError(f"it needs Linux on x86-64; this is {platform.system()} on {platform.machine()}")
    if "avx2" not in processor():
        raise BuildError("the CPU has no AVX2")
    compiler = _compiler_command()
    facts = [*OPTIONS, *compiler, _size_and_mtime(compiler[0]), torch.__version__, processor(), *_libraries()]
    digest = hashlib.sha256("\0".join([source, *facts]).encode()).hexdigest()[:20]
    return user_cache_folder() / "kernels" / f"{name}-{str(dtype).removeprefix('torch.')}-{digest}.so"


def _is_intact(path: Path) -> bool:
    """Whether the library exists and ends in the digest of its content."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content[-DIGEST:] == hashlib.sha256(content[:-DIGEST]).digest()


def _compiler_command() -> list[str]:
    try:
        from_environment = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise BuildError(f"$CXX is not a valid command: {error}: {os.environ['CXX']}") from None
    for command in [from_environment] if from_environment else (["c++"], ["g++"], ["clang++"]):
        path = shutil.which(command[0])
        if path:
            return [path, *command[1:]]
    if from_environment:
        raise BuildError(f"$CXX is not a program that can be run: {os.environ['CXX']}")
    raise BuildError("no C++ compiler (install c++, g++ or clang++, or set $CXX)")


def _size_and_mtime(program: str) -> str:
    facts = Path(program).resolve().stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


@cache
def processor() -> str:
    """The CPU's model and instruction sets."""
    fields = ("model name", "flags")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if line.startswith(fields))


@cache
def _libraries() -> tuple[str, ...]:
    """The torch library that has the matmuls, and the OpenMP runtime that torch has loaded."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    paths = {Path(line.split(maxsplit=5)[-1]) for line in maps.splitlines() if ".so" in line}
    openmp = sorted(str(p) for p in paths if p.name.startswith(("libgomp", "libiomp", "libomp")))
    if not openmp:
        raise BuildError("this torch is built without OpenMP")
    return (str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), openmp[0])


def _compile(description: str, source: str, target: Path) -> None:
    LOG.info("compiling C++ kernels for %s, once for this machine", description)
    start = time.perf_counter()
    compiler = _compiler_command()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
            output = Path(folder, "kernels.so")
            Path(folder, "kernels.cpp").write_text(source, encoding="utf-8")
            command = [compiler[0], *OPTIONS, *compiler[1:], "kernels.cpp", "-o", output.name, *_libraries()]
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, check=False
            )
            if result.returncode != 0:
                lines = result.stderr.splitlines()
                exited = f"{shlex.join(compiler)} exited with code {result.returncode} and no message"
                first = next((line for line in lines if "error" in line), lines[0] if lines else exited)
                raise BuildError(f"the C++ compiler failed: {first.strip()[:200]}")
            if not output.exists():
                raise BuildError(f"the C++ compiler failed: {shlex.join(compiler)} wrote no file")
            content = output.read_bytes()
        with open_atomic(target) as file:
            file.write(content + hashlib.sha256(content).digest())
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the C++ compiler took more than {TIME_LIMIT:.0f} s") from error
    except (OSError, UserError) as error:
        raise BuildError(f"the kernels cannot be cached: {error}") from error
    LOG.debug("compiled in %.1f s", time.perf_counter() - start)
