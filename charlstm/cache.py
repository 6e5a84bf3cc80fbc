"""The cache folder of the user, and atomic writes to it."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from charlstm.errors import UserError
from charlstm.locking import CAN_RENAME_OPEN_FILES, lock
from charlstm.paths import expand_home

PART = ".part"


def user_cache_folder() -> Path:
    """``$CHARLSTM_CACHE``, else ``$XDG_CACHE_HOME/charlstm``, else ``~/.cache/charlstm``; may not exist."""
    configured = os.environ.get("CHARLSTM_CACHE")
    if configured:
        return expand_home(configured)
    shared = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification: relative paths are ignored.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "charlstm"
    return Path(os.path.expanduser("~")) / ".cache" / "charlstm"  # noqa: PTH111 (never raises without a home)


def writable_folder(folder: Path) -> Path:
    """`folder`, created if needed; if it is not writable, a temporary folder that this process deletes at exit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        substitute = _temporary_folder() / folder.name
        substitute.mkdir(exist_ok=True)
        return substitute


@contextmanager
def open_atomic(path: Path, size: int = 0) -> Iterator[BinaryIO]:
    """A new file that replaces `path` atomically at the end of the block, or is deleted if the block raises.

    The next writer to the folder deletes the unfinished files of killed processes. Several processes may write the
    same path at once: each writes its own temporary file, and the last one replaces the others.

    Args:
        size: bytes that will be written, if known: a disk without this space is reported before any work is done.

    Raises:
        UserError: it cannot be written (no space left, for example).
    """
    try:
        _delete_abandoned_parts(path.parent)
        if size and shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor, part = _create_part(path)
    except OSError as error:
        raise _write_error(path, error, size) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if CAN_RENAME_OPEN_FILES:
                part.replace(path)  # while it is locked
        if not CAN_RENAME_OPEN_FILES:
            part.replace(path)
    except OSError as error:
        raise _write_error(path, error, size) from error
    finally:
        part.unlink(missing_ok=True)


def _create_part(path: Path) -> tuple[int, Path]:
    """A new file next to `path`, locked while it is open, so that others do not delete it."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        with suppress(BlockingIOError):
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor, Path(name)
        os.close(descriptor)  # another process deleted it as abandoned before it was locked


def _delete_abandoned_parts(folder: Path) -> None:
    """Delete the unfinished files that no process has locked."""
    for part in folder.glob(f".*{PART}"):
        with suppress(OSError), part.open("rb") as file:  # locked by another process, or deleted meanwhile
            if lock(file.fileno()):
                part.unlink()


def _write_error(path: Path, error: OSError, size: int) -> UserError:
    reason = error.strerror or str(error)
    if size:
        free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
        reason += f" ({size:,} bytes are needed, {free:,} are free)"
    return UserError(
        f"cannot write to the cache: {path.parent}: {reason}. "
        "Set CHARLSTM_CACHE to a folder on a disk with enough space."
    )


@cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="charlstm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
