"""Checks of paths given by the user, and commands quoted for a shell."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path, PurePath

from charlstm.errors import UserError

RUNS = Path("runs")
"""The folder of runs, unless another one is given."""


def expand_home(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by the home folder, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # unknown user, or no home folder
        return Path(path)


def shown(path: Path) -> Path:
    """The path relative to the working directory if it is inside of it, else as it is."""
    with suppress(OSError, ValueError):  # the working directory is gone, or the path is elsewhere
        return path.relative_to(Path.cwd())
    return path


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; False if it cannot be accessed or is not valid."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def path_exists(path: Path) -> bool:
    """Whether the path exists; False if it cannot be accessed or is not valid."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def without_compression(path: str | PurePath) -> PurePath:
    """The path of a file without the suffix of its compression, if it has one."""
    path = PurePath(path)
    return path.with_suffix("") if path.suffix.lower() in (".gz", ".bz2", ".xz") else path


def check_recordable(path: Path) -> None:
    """Raise UserError for a path that is not UTF-8, or was not read as UTF-8: configurations and reports cannot contain
    it."""
    try:
        str(path).encode("utf-8")
        return
    except UnicodeEncodeError:
        problem = "this path is not UTF-8, so config.yaml and reports cannot contain it: rename it"
    with suppress(UnicodeError):  # valid UTF-8 that the locale has split into bytes
        path = Path(os.fsencode(path).decode("utf-8"))
        problem = "the locale is not UTF-8, so Python cannot read this path: set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
    raise UserError(f"{path}: {problem}")


def command(*words: object, start: str = "charlstm") -> str:
    """A command line for a shell, beginning with ``start``: every word is quoted, and a path is never an option."""
    return " ".join([start, *map(_quoted, words)])


def _quoted(word: object) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text.isprintable():
        return shlex.quote(text)
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:  # surrogates that are not bytes of a path
        encoded = text.encode("utf-8", "surrogatepass")
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in encoded)
    return f"$'{''.join(plain)}'"
