"""Atomic and durable file operations: complete or not at all, in order, even after a power cut."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Piece = bytes | memoryview

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_NOT_FLUSHABLE = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def staged_file(path: Path, *pieces: Piece) -> Iterator[Path]:
    """A temporary file next to ``path`` with this content, flushed to disk; rename it in the block, else it is deleted.

    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while len(rest):
                    rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 (the crash tests record the calls of os)


def write_atomic(path: Path, *pieces: Piece) -> None:
    """Write or replace ``path`` atomically: after a crash, it is the old or the new file. Raises OSError."""
    with staged_file(path, *pieces) as temporary:
        rename(temporary, path)
        fsync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, replacing it."""
    os.replace(source, target)  # noqa: PTH105


def make_directory(path: Path) -> None:
    """Create the folder and its parents, flushed to disk. Raises OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        fsync_directory(folder.parent)


def fsync_file(path: Path) -> None:
    """Flush the content of the file to disk, if it exists. Raises OSError."""
    with suppress(FileNotFoundError):
        _flush(path, os.O_RDWR)


def fsync_directory(folder: Path) -> None:
    """Flush the entries of the folder to disk. Raises OSError."""
    if os.name == "posix":
        _flush(folder, os.O_RDONLY)


def remove_temporaries(folder: Path) -> None:
    """Delete the temporary files of killed writers. Call it only while holding the write lock."""
    for path in folder.glob(".*.tmp"):
        if is_temporary(path):
            with suppress(OSError):
                path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether the name is one of :func:`staged_file`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHABLE:  # some network file systems cannot flush
            raise
    finally:
        os.close(descriptor)
