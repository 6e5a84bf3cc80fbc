"""The user's cache folder, and files that appear in it whole or not at all."""

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
from charlstm.locking import OPEN_FILES_MOVE, lock
from charlstm.paths import expanded

PART = ".part"


def user_cache_folder() -> Path:
    """``$CHARLSTM_CACHE``, else ``$XDG_CACHE_HOME/charlstm``, else ``~/.cache/charlstm``; may not exist."""
    own = os.environ.get("CHARLSTM_CACHE")
    if own:
        return expanded(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    # The XDG rule: a path that is not absolute is to be ignored.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "charlstm"
    return Path(os.path.expanduser("~")) / ".cache" / "charlstm"  # noqa: PTH111 (never raises without a home)


def writable_folder(folder: Path) -> Path:
    """`folder`, made if need be; where it cannot be written, a folder that lives as long as this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        substitute = _temporary_folder() / folder.name
        substitute.mkdir(exist_ok=True)
        return substitute


@contextmanager
def written_whole(path: Path, size: int = 0) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` in one move when the block ends well, and else vanishes.

    What a process that was killed had begun is deleted by the next one that writes into the folder. Several may
    write the same path at once: each writes a file of its own, and the last one stays.

    Args:
        size: bytes that will be written, if known: a disk without that room is told before any work is done.

    Raises:
        UserError: it cannot be written (no space left, for example).
    """
    try:
        _delete_abandoned(path.parent)
        if size and shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor, part = _begun(path)
    except OSError as error:
        raise _not_written(path, error, size) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if OPEN_FILES_MOVE:
                part.replace(path)  # while it is locked
        if not OPEN_FILES_MOVE:
            part.replace(path)
    except OSError as error:
        raise _not_written(path, error, size) from error
    finally:
        part.unlink(missing_ok=True)


def _begun(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, locked for as long as it is open, so that it is seen to be in use."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        with suppress(BlockingIOError):
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor, Path(name)
        os.close(descriptor)  # it was taken for an abandoned one before it was locked


def _delete_abandoned(folder: Path) -> None:
    """Delete the unfinished files that no process holds locked any more."""
    for part in folder.glob(f".*{PART}"):
        with suppress(OSError), part.open("rb") as file:  # locked by another, or gone meanwhile
            if lock(file.fileno()):
                part.unlink()


def _not_written(path: Path, error: OSError, size: int) -> UserError:
    reason = error.strerror or str(error)
    if size:
        free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
        reason += f" ({size:,} bytes are needed, {free:,} are free)"
    return UserError(
        f"cannot write to the cache: {path.parent}: {reason}. Set CHARLSTM_CACHE to a folder on a disk with room."
    )


@cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="charlstm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
