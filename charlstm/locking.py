"""Locks on open files by the operating system, released whenever the process that holds them ends."""

from __future__ import annotations

import errno
import os
import platform

CAN_RENAME_OPEN_FILES = platform.system() != "Windows"
"""Whether a file can be renamed and deleted while it is open."""

FIRST_READABLE = 1
"""Offset of the first byte that other processes can read: on Windows, not the locked first byte."""


def lock(descriptor: int) -> bool:
    """Lock an open file exclusively, without waiting; closing the file releases the lock.

    ``FileLock`` of filelock is not used: it truncates the file, which names its owner, and on file systems without
    locks it creates a marker file that a killed process leaves behind.

    Returns False if the operating system or the file system has no locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    from filelock import lock_descriptor  # imported here: `charlstm --help` loads this module

    try:
        if lock_descriptor(descriptor, blocking=False):
            return True
    except OSError:
        return False
    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
