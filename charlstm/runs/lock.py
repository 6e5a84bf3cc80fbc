"""One writer at a time: a lock of the operating system, gone with the process that holds it, however that ends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from charlstm.errors import UserError
from charlstm.files import open_descriptor
from charlstm.locking import FIRST_READABLE, lock


@contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Hold the lock on the file, made if need be; yields False where the system has no locks.

    The file stays when the block ends: to delete it would let two others hold it at once.

    Raises:
        UserError: another process holds it (the message says which), or the file cannot be written.
    """
    try:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise UserError(f"{path.parent}: cannot write the run: {error.strerror}") from error
    try:
        yield _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        if not lock(descriptor):
            return False
    except BlockingIOError:
        raise UserError(
            f"{path.parent} is being written by {_owner(descriptor)}. "
            "Wait until it has ended, stop it, or take another name: --name NAME"
        ) from None
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b" " * FIRST_READABLE + text.encode())
    except OSError:
        pass  # a full disk: the lock holds all the same, only nameless
    return True


def _owner(descriptor: int) -> str:
    try:
        os.lseek(descriptor, FIRST_READABLE, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 1000))
        return f"process {owner['pid']:d} on {owner['host']!s:.100} since {owner['since']!s:.40}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
