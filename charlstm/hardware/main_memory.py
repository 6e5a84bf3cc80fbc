"""The main memory: how much of it is free, and errors that say it was not enough."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path

from charlstm.errors import UserError

_SIGNS = re.compile(
    "out of memory|can't allocate memory|not enough memory|bad_alloc|ALLOC(ATION)?_FAILED", re.IGNORECASE
)
_ASKED = re.compile(r"(?:tried|unable) to allocate ([0-9.]+) ?(bytes|[KMGT]i?B)", re.IGNORECASE)
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def is_shortage(error: BaseException) -> bool:
    """Whether the error is a lack of memory, of whatever device; torch raises RuntimeError for it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SIGNS.search(str(error))))


def asked_bytes(message: str) -> int:
    """The bytes that could not be had, from an error's message; 0 where it does not say."""
    found = _ASKED.search(message)
    return int(float(found[1]) * _UNITS[found[2][0].lower()]) if found else 0


def size_text(count: float) -> str:
    """``2.1 GB``, ``21 MB``."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def free_main_memory() -> int | None:
    """Bytes that this process could still take: of the machine with its swap space, of its container, and below its
    own limit (``ulimit -v``). None where the system does not say."""
    found = []
    with suppress(OSError, ValueError, KeyError):
        lines = (_PROC / "meminfo").read_text(encoding="utf-8").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        found.append(1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"]))
    with suppress(OSError, ValueError):  # "max": no limit
        limit = int((_CGROUP / "memory.max").read_text(encoding="utf-8"))
        found.append(limit - int((_CGROUP / "memory.current").read_text(encoding="utf-8")) + _cached())
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int((_PROC / "self" / "statm").read_text(encoding="utf-8").split()[0])
            found.append(limit - pages * resource.getpagesize())
    return max(0, min(found)) if found else None


def shortage_facts(asked: int, free: int | None) -> list[str]:
    """How many bytes more were asked for, 0 if unknown, and how many are free, None if unknown, in words."""
    facts = [f"{size_text(asked)} more were asked for"] if asked else []
    return facts if free is None else [*facts, f"{size_text(free)} are free"]


def does_not_fit(what: str, needed: int, free: int, advice: str) -> UserError:
    """The error for what needs more bytes than are free, with what to do."""
    return UserError(f"not enough memory: {what} take {size_text(needed)}, {size_text(free)} are free. {advice}")


def check_room(texts: int, bytes_each: int) -> None:
    """Raises UserError if so many texts that are written side by side cannot all be in the main memory."""
    free, needed = free_main_memory(), texts * bytes_each
    if free is not None and needed > free:
        advice = "Ask for fewer texts at a time, or for shorter ones"
        raise does_not_fit(f"{texts:,} texts", needed, free, advice)


def _cached() -> int:
    """Bytes of the container that the system gives back where they are needed."""
    lines = (_CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
