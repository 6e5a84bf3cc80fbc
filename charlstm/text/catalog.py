"""The catalog of named corpora: their URLs and checksums, and their download."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from charlstm.cache import open_atomic, writable_folder
from charlstm.errors import UserError
from charlstm.text import standard_library
from charlstm.text.reading import PIECE, Progress

TIMEOUT_SECONDS = 30
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
    for path in (CHECKOUT_DATA / entry.file, cache_folder / "corpora" / entry.file):
        if _is_intact(path, entry):
            return path
    target = writable_folder(cache_folder / "corpora") / entry.file
    if not _is_intact(target, entry):
        _download(entry, target, cache_folder / "corpora" / entry.file, on_progress)
    return target


def _is_intact(path: Path, entry: Entry) -> bool:
    try:
        if path.stat().st_size != entry.bytes:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    except OSError:
        return False


def _download(entry: Entry, target: Path, manual_path: Path, on_progress: Progress | None) -> None:
    try:
        request = urllib.request.Request(entry.url, headers={"User-Agent": "charlstm"})
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise _download_error(entry, manual_path, f"it could not be downloaded ({_reason(error)})") from error
    digest, size = hashlib.sha256(), 0
    with response, open_atomic(target) as file:
        while size <= entry.bytes:
            try:
                piece = response.read(PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _download_error(entry, manual_path, f"the download was interrupted ({_reason(error)})") from error
            if not piece:
                break
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            if on_progress:
                on_progress(f"downloading {entry.name}", size, entry.bytes)
        if digest.hexdigest() != entry.sha256:
            raise _download_error(entry, manual_path, "the file at its URL has changed (the SHA-256 differs)")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


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
