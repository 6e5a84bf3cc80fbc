"""Regular files, and nothing else that has a name: what a pipe or a device holds has no end."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from charlstm.errors import UserError

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_size(path: Path) -> int:
    """Size in bytes of a regular file. Says at once what else it is; opens nothing.

    Raises:
        UserError: it is missing, a link to nothing, a folder, a pipe, a socket or a device, or cannot be reached.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path}: this is a link to {path.readlink()}, which is not there") from None
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return _size(path, status)


def open_regular(path: Path) -> io.FileIO:
    """A regular file, open for reading, unbuffered. Never waits for a writer, as opening a pipe does.

    Raises:
        UserError: as `regular_size`, or there is no permission to read it.
    """
    regular_size(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise unreadable(path, error) from None
    file = io.FileIO(descriptor, "rb")
    try:
        _size(path, os.fstat(descriptor))
    except UserError:
        file.close()
        raise
    return file


def unreadable(path: Path, error: OSError | ValueError) -> UserError:
    """The error as one line with the file's name, cut if it is very long."""
    name = str(path)
    name = name if len(name) <= 200 else f"{name[:200]}..."
    return UserError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}")


def _size(path: Path, status: os.stat_result) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: this is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for test, kind in _KINDS if test(status.st_mode)), "no file")
        raise UserError(f"{path}: this is {kind}, not a regular file: write what it holds to a file first")
    return status.st_size
