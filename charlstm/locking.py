"""Locks on open files, by the operating system: gone with the process that holds them, however it ends."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_BEYOND = 1 << 30  # Windows locks bytes, and nobody can read a locked one: take one where nothing is written


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl = _module("fcntl")  # Linux, macOS
msvcrt = None if fcntl else _module("msvcrt")  # Windows

OPEN_FILES_MOVE = fcntl is not None
"""Whether a file can be renamed and deleted while it is open."""


def lock(descriptor: int) -> bool:
    """Lock an open file for this process alone, without waiting; released when the file is closed.

    Returns False where the system, or the file system that the file is on, has no locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            _lock_byte(descriptor, msvcrt)
        else:
            return False
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _lock_byte(descriptor: int, msvcrt: ModuleType) -> None:
    os.lseek(descriptor, _BEYOND, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:  # Windows' word for it
        raise BlockingIOError(error.errno, error.strerror) from None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
