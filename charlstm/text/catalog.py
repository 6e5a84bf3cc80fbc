"""The catalog of named corpora: their URLs and checksums, and their download."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from charlstm.cache import writable_folder
from charlstm.errors import UserError
from charlstm.text import standard_library

if TYPE_CHECKING:
    from charlstm.text.reading import Progress

CHECKOUT_DATA = Path(__file__).resolve().parents[2] / "data"
"""``data/`` of the checkout that contains this code; it does not exist for an installed package."""


@dataclass(frozen=True)
class Entry:
    """A corpus that is downloaded on first use."""

    name: str
    file: str
    """Its file name in ``data/`` and in the cache."""
    url: str
    sha256: str
    bytes: int
    characters: int
    license: str
    description: str


@cache
def catalog() -> dict[str, Entry]:
    """The downloadable corpora by name, from ``catalog.json``."""
    installed = Path(__file__).with_name("catalog.json")
    path = installed if installed.exists() else CHECKOUT_DATA / "catalog.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: Entry(name=name, **fields) for name, fields in content.items()}


def catalog_names() -> list[str]:
    """The names of all corpora, including `python-stdlib`, sorted."""
    return sorted([*catalog(), standard_library.NAME])


def fetch(name: str, cache_folder: Path, on_progress: Progress | None = None) -> Path:
    """The file of a named corpus.

    Searches ``data/`` of the checkout, then ``corpora/`` of the cache folder, and downloads the file if neither has
    it. A file is used only if its SHA-256 is that of the catalog.

    Raises:
        KeyError: unknown name.
        UserError: the download failed, or its SHA-256 differs.
    """
    if name == standard_library.NAME:
        return standard_library.materialize(cache_folder)
    entry = catalog()[name]
    if (path := existing_file(name, cache_folder)) is not None:
        return path
    target = writable_folder(cache_folder / "corpora") / entry.file
    if not _is_intact(target, entry):
        _download(entry, target, cache_folder / "corpora" / entry.file, on_progress)
    return target


def existing_file(name: str, cache_folder: Path) -> Path | None:
    """The file of a downloadable corpus, if ``data/`` or the cache has it intact. Raises KeyError: unknown name."""
    entry = catalog()[name]
    paths = (CHECKOUT_DATA / entry.file, cache_folder / "corpora" / entry.file)
    return next((path for path in paths if _is_intact(path, entry)), None)


def _is_intact(path: Path, entry: Entry) -> bool:
    try:
        if path.stat().st_size != entry.bytes:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    except OSError:
        return False


def _download(entry: Entry, target: Path, manual_path: Path, on_progress: Progress | None) -> None:
    from charlstm.text.download import DownloadError, download

    def report(done: int) -> None:
        if on_progress:
            on_progress(f"downloading {entry.name}", done, entry.bytes)

    try:
        download(entry.url, target, entry.bytes, entry.sha256, report)
    except DownloadError as error:
        raise _download_error(entry, manual_path, str(error)) from error


def _download_error(entry: Entry, manual_path: Path, what: str) -> UserError:
    paths = [manual_path]
    if (CHECKOUT_DATA / "catalog.json").exists():
        paths.insert(0, CHECKOUT_DATA / entry.file)
    existing = next((path for path in paths if path.exists()), None)
    note = f" ({existing} exists, but it is another text: its SHA-256 differs.)" if existing else ""
    return UserError(
        f"corpus {entry.name!r}: {what}. Download {entry.url} manually and save it as "
        f"{' or '.join(map(str, paths))} (SHA-256 {entry.sha256}).{note}"
    )
