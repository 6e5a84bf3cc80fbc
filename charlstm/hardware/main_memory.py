"""Free main memory, and out-of-memory errors."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path

from charlstm.errors import UserError

_OUT_OF_MEMORY = re.compile(
    "out of memory|can't allocate memory|not enough memory|bad_alloc|ALLOC(ATION)?_FAILED", re.IGNORECASE
)
_REQUESTED = re.compile(r"(?:tried|unable) to allocate ([0-9.]+) ?(bytes|[KMGT]i?B)", re.IGNORECASE)
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is an out-of-memory error of any device; torch raises RuntimeError."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
    )


def requested_bytes(message: str) -> int:
    """The bytes requested, from the message of an out-of-memory error; 0 if it has none."""
    match = _REQUESTED.search(message)
    return int(float(match[1]) * _UNITS[match[2][0].lower()]) if match else 0


def format_bytes(count: float) -> str:
    """``2.1 GB``, ``21 MB``."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def free_main_memory() -> int | None:
    """Bytes available to this process: of the machine with its swap space, of its control groups (of a container, or
    of a cluster's job), and below its own limit (``ulimit -v``). None if the system does not report it."""
    limits = []
    with suppress(OSError, ValueError, KeyError):
        lines = (_PROC / "meminfo").read_text(encoding="utf-8").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        limits.append(1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"]))
    for group in _control_groups():
        with suppress(OSError, ValueError):  # "max": no limit
            limit = int((group / "memory.max").read_text(encoding="utf-8"))
            limits.append(limit - int((group / "memory.current").read_text(encoding="utf-8")) + _cached(group))
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int((_PROC / "self" / "statm").read_text(encoding="utf-8").split()[0])
            limits.append(limit - pages * resource.getpagesize())
    return max(0, min(limits)) if limits else None


def memory_facts(requested: int, free: int | None) -> list[str]:
    """The bytes requested (0 if unknown) and free (None if unknown), in words."""
    facts = [f"{format_bytes(requested)} more were requested"] if requested else []
    return facts if free is None else [*facts, f"{format_bytes(free)} are free"]


def not_enough_memory(what: str, needed: int, free: int, advice: str) -> UserError:
    """The error for something that needs more bytes than are free, with advice."""
    return UserError(f"not enough memory: {what} take {format_bytes(needed)}, {format_bytes(free)} are free. {advice}")


def check_texts_fit(texts: int, bytes_each: int) -> None:
    """Raises UserError if this many texts, generated in one batch, do not fit into the main memory."""
    free, needed = free_main_memory(), texts * bytes_each
    if free is not None and needed > free:
        advice = "Generate fewer texts at a time, or shorter ones"
        raise not_enough_memory(f"{texts:,} texts", needed, free, advice)


def _control_groups() -> list[Path]:
    """The folders of the control groups (version 2) of this process: its own, and those that contain it."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return [_CGROUP / folder for folder in (Path(own), *Path(own).parents)]


def _cached(group: Path) -> int:
    """Bytes of a control group's page cache, which the system frees on demand."""
    lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
