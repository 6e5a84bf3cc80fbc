"""The write lock of a run, by the operating system: released whenever the process that holds it ends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from charlstm.errors import UserError
from charlstm.files import open_descriptor
from charlstm.locking import FIRST_READABLE, lock


class LockedError(UserError):
    """Another process holds the lock."""


@contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Hold the lock on the file, created if needed; yields False where the system has no locks.

    The file remains after the block: if it were deleted, two other processes could hold the lock at once.

    Raises:
        LockedError: another process holds the lock (the message names it).
        UserError: the file cannot be written.
    """
    try:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise UserError(f"{path.parent}: cannot write the run: {error.strerror}") from error
    try:
        yield _lock(descriptor, path)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process is writing the run with this lock file, as far as the system can tell.

    A lock is tested by taking it for an instant; if the process that held it last ran on this machine and has ended,
    which is the usual case, it is not tested.
    """
    try:
        descriptor = open_descriptor(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, UserError):
        return False  # there is no such run, or none that this user can write
    try:
        if _has_ended(descriptor):
            return False
        lock(descriptor)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _has_ended(descriptor: int) -> bool:
    """Whether the process that held the lock last is known to have ended."""
    owner = _read_owner(descriptor)
    if owner is None or owner.get("host") != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError, KeyError, TypeError, ValueError):
        return False
    return False


def _lock(descriptor: int, path: Path) -> bool:
    try:
        if not lock(descriptor):
            return False
    except BlockingIOError:
        raise LockedError(
            f"{path.parent} is being written by {_owner(descriptor)}. "
            "Wait until it ends, stop it, or choose another name: --name NAME"
        ) from None
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b" " * FIRST_READABLE + text.encode())
    except OSError:
        pass  # a full disk: the lock holds, only the owner is not recorded
    return True


def _owner(descriptor: int) -> str:
    try:
        owner = _read_owner(descriptor) or {}
        return f"process {owner['pid']:d} on {owner['host']!s:.100} since {owner['since']!s:.40}"
    except (ValueError, KeyError):
        return "another process"


def _read_owner(descriptor: int) -> dict[str, Any] | None:
    """What :func:`_lock` recorded; None if it cannot be read."""
    try:
        os.lseek(descriptor, FIRST_READABLE, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 1000))
    except (OSError, ValueError, RecursionError):
        return None
    return owner if isinstance(owner, dict) else None
