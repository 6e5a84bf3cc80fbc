"""The user's cache folder, and files that appear in it whole or not at all."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from charlstm.errors import UserError


def user_cache_folder() -> Path:
    """``$CHARLSTM_CACHE``, else ``$XDG_CACHE_HOME/charlstm``, else ``~/.cache/charlstm``; may not exist."""
    own = os.environ.get("CHARLSTM_CACHE")
    if own:
        return Path(own).expanduser()
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
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` in one move when the block ends well, and else vanishes.

    Raises:
        UserError: it cannot be written (no space left, for example).
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise _not_written(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(
        f"cannot write to the cache: {path.parent}: {reason}. Set CHARLSTM_CACHE to a folder on a disk with room."
    )


@cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="charlstm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
