"""Opens regular files only: a pipe or a device may have no end."""

from __future__ import annotations

import io
import os
import stat
from contextlib import suppress
from pathlib import Path

from charlstm.errors import UserError


class MissingError(UserError):
    """The path does not exist, not even as a link."""


_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_size(path: Path) -> int:
    """Size in bytes of a regular file. Opens nothing, so it never waits for a pipe.

    Raises:
        MissingError: the path does not exist.
        UserError: it is a dangling link, a folder, a pipe, a socket or a device, or cannot be accessed.
    """
    return _size(path, _status(path))


def check_folder(path: Path) -> None:
    """Raises UserError if the path exists and is not a folder."""
    with suppress(MissingError):
        if not stat.S_ISDIR(_status(path).st_mode):
            raise UserError(f"{path}: this is not a folder: rename or delete it")


def why_not_writable(folder: Path) -> str:
    """Why no file can be written into a folder, or if it does not exist into the nearest one above it; empty if files
    can be."""
    import tempfile

    existing = existing_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: {error.strerror or error}"


def existing_folder(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))


def open_regular(path: Path) -> io.FileIO:
    """A regular file, open for reading, unbuffered. Never waits for a writer, as opening a pipe does.

    Raises:
        MissingError: the path does not exist.
        UserError: as `regular_size`, or it must not be read.
    """
    regular_size(path)
    try:
        return io.FileIO(open_descriptor(path, os.O_RDONLY), "rb")
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file") from None
    except OSError as error:
        raise read_error(path, error) from None


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes. Raises as `open_regular`, and UserError if it is longer
    or cannot be read."""
    with io.BufferedReader(open_regular(path)) as file:
        try:
            size = file.seek(0, os.SEEK_END)
            if size > limit:
                raise UserError(f"{path}: longer than the limit of {limit:,} bytes")
            file.seek(0)
            return file.read(size)
        except OSError as error:
            raise read_error(path, error) from None


def append_regular(path: Path, content: bytes) -> None:
    """Append to a regular file, created if needed. Never waits for a reader, as a pipe does.

    Raises:
        UserError: the path is something else; see `regular_size`.
        OSError: it cannot be written.
    """
    with suppress(MissingError):
        regular_size(path)
    with io.FileIO(open_descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        rest = memoryview(content)
        while len(rest):
            rest = rest[file.write(rest) :]


def open_descriptor(path: Path, flags: int) -> int:
    """The descriptor of a regular file, opened without waiting. Raises OSError, and UserError for other file types."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _size(path, os.fstat(descriptor))
    except UserError:
        os.close(descriptor)
        raise
    return descriptor


def read_error(path: Path, error: OSError | ValueError) -> UserError:
    """The error in one line with the file name, truncated if very long."""
    name = str(path)
    name = name if len(name) <= 200 else f"{name[:200]}..."
    return UserError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}")


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path}: this is a link to {path.readlink()}, which does not exist") from None
        raise MissingError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise read_error(path, error) from None


def _size(path: Path, status: os.stat_result) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: this is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for test, kind in _KINDS if test(status.st_mode)), "something else")
        raise UserError(f"{path}: this is {kind}, not a regular file: write its content to a file first")
    return status.st_size
