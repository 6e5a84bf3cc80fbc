"""Paths as people write them, and commands that can be pasted back into a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from charlstm.errors import UserError


def expanded(path: str | Path) -> Path:
    """The path with ``~`` or ``~user`` at its beginning replaced by that home folder, where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~ of no user, or no home
        return Path(path)


def is_folder(path: Path) -> bool:
    """Whether it is one; a path that cannot be reached, or that no file system takes, is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_there(path: Path) -> bool:
    """Whether the path leads to anything; not, if it cannot be reached or no file system takes it."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_recordable(path: Path) -> None:
    """Raises UserError for a path with bytes that are no UTF-8: no configuration and no report can name it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: a part of this path is no UTF-8, so that config.yaml and reports could not name it: rename it"
        ) from None


def command(*words: object, start: str = "charlstm") -> str:
    """A command line that can be pasted into a shell, after ``start``: every word is quoted, and no path is taken for
    an option."""
    return " ".join([start, *map(_quoted, words)])


def _quoted(word: object) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text.isprintable():
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(plain)}'"
