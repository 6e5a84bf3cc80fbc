"""Locks on open files, by the operating system: released with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import platform

OPEN_FILES_MOVE = platform.system() != "Windows"
"""Whether a file can be renamed and deleted while it is open."""

FIRST_READABLE = 1
"""On Windows no other process can read the byte that is locked, the first of the file."""


def lock(descriptor: int) -> bool:
    """Lock an open file for this process alone, without waiting; released when the file is closed.

    filelock's ``FileLock`` is not used: it empties the file, which names its holder, and where a file system has no
    locks it makes a marker file that a killed process leaves behind.

    Returns False where the system, or the file system that the file is on, has no locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    from filelock import lock_descriptor  # not above: `charlstm --help` loads this module

    try:
        if lock_descriptor(descriptor, blocking=False):
            return True
    except OSError:
        return False
    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
