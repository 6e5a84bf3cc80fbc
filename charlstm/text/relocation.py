"""A text that went to another place together with the run that learnt it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from charlstm.cache import user_cache_folder
from charlstm.errors import UserError
from charlstm.text.reading import hash_sources
from charlstm.text.sources import resolve


def relocated(source: str | Sequence[str], run: Path, digest: Callable[[], str]) -> str | list[str]:
    """The source of a corpus as it is to be named now.

    Files that are not there any more are looked for beside the run: as if their folder, or one above it, now stood in
    one of the folders that the run's lies in. They are taken only if the whole text is the same.

    Args:
        source: absolute paths, globs and names of the catalogue.
        run: the absolute path of the run's folder.
        digest: gives the SHA-256 (hex) of the text; called only if something is missing.
    """
    names = [source] if isinstance(source, str) else list(source)
    missing = [name for name in names if Path(name).is_absolute() and not _there(name)]
    if missing:
        wanted = digest()
        old = Path(os.path.commonpath([_folder(name) for name in missing]))
        for new in _places(old, run, any("**" in name for name in missing)):
            moved = [str(new / Path(name).relative_to(old)) if name in missing else name for name in names]
            if _digest(moved) == wanted:
                return moved[0] if isinstance(source, str) else moved
    return source if isinstance(source, str) else names


def _folder(name: str) -> Path:
    """The folder that a file lies in, or that a glob begins in."""
    return Path(*takewhile(lambda part: not set(part) & set("*?"), Path(name).parent.parts))


def _places(old: Path, run: Path, deep: bool) -> Iterator[Path]:
    """Where the folder may be now: first by as much of its old path as possible, and near the run."""
    folders = [folder for folder in run.parents if folder != folder.parent]
    for first in range(1, len(old.parts) + (not deep)):  # a ** is not to search a whole disk
        for folder in folders:
            if (new := folder.joinpath(*old.parts[first:])) != old and new.is_dir():
                yield new


def _there(name: str) -> bool:
    try:
        return bool(resolve(name, user_cache_folder()))
    except UserError:
        return False


def _digest(names: list[str]) -> str | None:
    try:
        return hash_sources(resolve(names, user_cache_folder()))[0]
    except UserError:
        return None
