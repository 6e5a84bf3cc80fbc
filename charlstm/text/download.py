"""Downloads a file of known size and SHA-256, and resumes a download that was interrupted."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from charlstm.cache import open_atomic
from charlstm.errors import UserError
from charlstm.files import open_descriptor
from charlstm.locking import CAN_RENAME_OPEN_FILES, lock

TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 1.0
ATTEMPTS = 10
"""Connections for one file; a connection that transfers nothing is the last one."""
PIECE = 1 << 18
UNFINISHED = ".download"
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416


class DownloadError(Exception):
    """The file could not be downloaded; the message is the reason."""


def download(url: str, target: Path, size: int, sha256: str, on_progress: Callable[[int], None]) -> None:
    """Download a file; ``target`` appears only when it is complete and has the SHA-256 (hex).

    What an interrupted download has received stays in ``target.download``. The next one continues there if the server
    supports ranges, and otherwise starts again.

    Args:
        size: bytes of the file.
        on_progress: called with the number of bytes received, those of earlier downloads included.

    Raises:
        DownloadError: the connection fails, or the content is another one.
        UserError: the file cannot be written.
    """
    unfinished = target.with_name(target.name + UNFINISHED)
    with _write_errors(target):
        part = _open_locked(unfinished)
        if part is None:  # another process downloads it, too
            with open_atomic(target) as file:
                _receive(file, url, size, sha256, on_progress)
            return
        with part:
            try:
                _receive(part, url, size, sha256, on_progress)
                os.fsync(part.fileno())
            finally:
                if _length(part) == 0 and CAN_RENAME_OPEN_FILES:
                    unfinished.unlink(missing_ok=True)  # while it is locked
        unfinished.replace(target)


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{target.parent}: cannot write the download: {error.strerror or error}. "
            "Set CHARLSTM_CACHE to a folder on a disk with enough space"
        ) from error


def _open_locked(path: Path) -> BinaryIO | None:
    """The unfinished file, open and locked; None if another process has locked it."""
    while True:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return os.fdopen(descriptor, "r+b")
        os.close(descriptor)  # another process completed or deleted it before it was locked


def _receive(file: BinaryIO, url: str, size: int, sha256: str, on_progress: Callable[[int], None]) -> None:
    """Complete the file, which may have a beginning of the content, over as many connections as needed."""
    had_beginning = _length(file) > 0
    is_complete = False
    for attempt in range(ATTEMPTS):
        begin = _length(file)
        if is_complete := is_complete or begin >= size:
            break
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            response = _connect(url, begin)
        except (OSError, http.client.HTTPException) as error:
            if begin and getattr(error, "code", None) == RANGE_NOT_SATISFIABLE:
                file.truncate(0)
                continue
            raise DownloadError(f"it could not be downloaded ({_reason(error)}){_kept(file)}") from error
        problem: Exception = EOFError("the connection was closed")
        with response:
            if begin and not _continues(response, begin):
                file.truncate(0)
                begin = 0
            try:
                is_complete = _copy(response, file, size, on_progress)
            except (OSError, http.client.HTTPException) as error:
                problem = error
        if not is_complete and _length(file) <= begin:
            raise DownloadError(f"the download was interrupted ({_reason(problem)}){_kept(file)}") from problem
    if not is_complete:
        raise DownloadError(f"the download was interrupted {ATTEMPTS} times{_kept(file)}")
    if _sha256(file) != sha256:
        file.truncate(0)
        if not had_beginning:
            raise DownloadError("the file at its URL has changed (the SHA-256 differs)")
        _receive(file, url, size, sha256, on_progress)  # its beginning may be that of another version


def _connect(url: str, begin: int) -> Any:
    """The response of the server, from the byte ``begin`` on if it can."""
    headers = {"User-Agent": "charlstm", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)


def _continues(response: Any, begin: int) -> bool:
    """Whether the response has the bytes from ``begin`` on, and not the whole file."""
    content = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == PARTIAL_CONTENT and content is not None and int(content[1]) == begin


def _copy(response: Any, file: BinaryIO, size: int, on_progress: Callable[[int], None]) -> bool:
    """Append the response; returns whether all of it arrived. Stops when the file is longer than ``size``."""
    declared = getattr(response, "headers", {}).get("Content-Length")
    received, total = 0, _length(file)
    while total <= size and (piece := response.read(PIECE)):
        file.write(piece)
        received, total = received + len(piece), total + len(piece)
        on_progress(min(total, size))
    file.flush()
    return total > size or declared is None or received >= int(declared)


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _kept(file: BinaryIO) -> str:
    return f"; {count:,} bytes are kept, and the same command continues there" if (count := _length(file)) else ""


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__
