"""Files that outlive a power cut: whole or not at all, and in the order in which they were written."""

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
    """A temporary file beside ``path`` with this content, on the disk; to be moved, and gone when the block ends.

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
            os.unlink(temporary)  # noqa: PTH108 (the crash tests record what this module asks of os)


def write_atomic(path: Path, *pieces: Piece) -> None:
    """Put this content in the place of ``path``: after a crash, there is the old file or the new one. Raises
    OSError."""
    with staged_file(path, *pieces) as temporary:
        rename(temporary, path)
        fsync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Give ``source`` the name ``target``, whatever has it now."""
    os.replace(source, target)  # noqa: PTH105


def make_directory(path: Path) -> None:
    """Make the folder and those above it, and have their names on the disk. Raises OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        fsync_directory(folder.parent)


def fsync_file(path: Path) -> None:
    """Have on the disk what was written to the file, if there is one. Raises OSError."""
    with suppress(FileNotFoundError):
        _flush(path, os.O_RDWR)


def fsync_directory(folder: Path) -> None:
    """Have on the disk which files the folder holds. Raises OSError."""
    if os.name == "posix":
        _flush(folder, os.O_RDONLY)


def remove_temporaries(folder: Path) -> None:
    """Delete the temporary files of writers that were killed. Only for who knows that none is alive."""
    for path in folder.glob(".*.tmp"):
        if is_temporary(path):
            with suppress(OSError):
                path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether the name is one that :func:`staged_file` gives."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHABLE:  # some network folders have nothing to flush
            raise
    finally:
        os.close(descriptor)
