"""Locating the text of a run after both were moved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from charlstm.cache import user_cache_folder
from charlstm.errors import UserError
from charlstm.text.reading import hash_sources
from charlstm.text.sources import resolve


def relocate_source(source: str | Sequence[str], run: Path, digest: Callable[[], str]) -> str | list[str]:
    """The source of a corpus, with paths updated if its files were moved together with the run.

    Missing files are searched relative to the parent folders of the run, by as much of their old path as possible.
    They are used only if the whole text has the same SHA-256.

    Args:
        source: absolute paths, globs and names of the catalog.
        run: the absolute path of the run's folder.
        digest: returns the SHA-256 (hex) of the text; called only if a file is missing.
    """
    names = [source] if isinstance(source, str) else list(source)
    missing = [name for name in names if Path(name).is_absolute() and not _exists(name)]
    if missing:
        expected = digest()
        old = Path(os.path.commonpath([_folder(name) for name in missing]))
        for new in _candidates(old, run, any("**" in name for name in missing)):
            moved = [str(new / Path(name).relative_to(old)) if name in missing else name for name in names]
            if _digest(moved) == expected:
                return moved[0] if isinstance(source, str) else moved
    return source if isinstance(source, str) else names


@contextmanager
def recorded_in(config_file: Path | None) -> Iterator[None]:
    """Errors of the block, which loads the text of a run, say where its place is recorded, if it is."""
    try:
        yield
    except UserError as error:
        if config_file is None:
            raise
        text = str(error).rstrip(".")
        raise UserError(f"{text}. If the text was moved, set corpus.source in {config_file}") from None


def _folder(name: str) -> Path:
    """The folder of a file, or the part of a glob before its first pattern."""
    return Path(*takewhile(lambda part: not set(part) & set("*?"), Path(name).parent.parts))


def _candidates(old: Path, run: Path, deep: bool) -> Iterator[Path]:
    """Possible new paths of a folder: those with more of its old path first, then those nearer to the run."""
    folders = [folder for folder in run.parents if folder != folder.parent]
    for first in range(1, len(old.parts) + (not deep)):  # ** must not search a whole disk
        for folder in folders:
            if (new := folder.joinpath(*old.parts[first:])) != old and new.is_dir():
                yield new


def _exists(name: str) -> bool:
    try:
        return bool(resolve(name, user_cache_folder()))
    except UserError:
        return False


def _digest(names: list[str]) -> str | None:
    try:
        return hash_sources(resolve(names, user_cache_folder()))[0]
    except UserError:
        return None
