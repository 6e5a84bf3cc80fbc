"""Named corpora: where each is published, and the checksum that says it is the same text."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from charlstm.cache import writable_folder, written_whole
from charlstm.errors import UserError
from charlstm.text import standard_library
from charlstm.text.reading import PIECE, Progress

TIMEOUT_SECONDS = 30
CHECKOUT_DATA = Path(__file__).resolve().parents[2] / "data"
"""``data/`` of the checkout that this code runs from. An installed package has none."""


@dataclass(frozen=True)
class Entry:
    """A corpus that is downloaded once, on first use."""

    name: str
    file: str
    """The name it has in ``data/`` and in the cache."""
    url: str
    sha256: str
    bytes: int
    characters: int
    licence: str
    description: str


@cache
def catalogue() -> dict[str, Entry]:
    """The downloadable corpora by name, from ``catalogue.json``."""
    beside = Path(__file__).with_name("catalogue.json")
    path = beside if beside.exists() else CHECKOUT_DATA / "catalogue.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: Entry(name=name, **fields) for name, fields in content.items()}


def catalogue_names() -> list[str]:
    """Every name that a corpus source may be, sorted; `python-stdlib` is one."""
    return sorted([*catalogue(), standard_library.NAME])


def fetch(name: str, cache_folder: Path, on_progress: Progress | None = None) -> Path:
    """The file that holds a named corpus.

    Looked for in ``data/`` of the checkout, then in ``corpora/`` of the cache folder, and only then
    downloaded. A file counts only if its SHA-256 is the catalogue's.

    Raises:
        KeyError: no such name.
        UserError: it cannot be downloaded, or what came is another text.
    """
    if name == standard_library.NAME:
        return standard_library.materialise(cache_folder)
    entry = catalogue()[name]
    for path in (CHECKOUT_DATA / entry.file, cache_folder / "corpora" / entry.file):
        if _is_the_text(path, entry):
            return path
    target = writable_folder(cache_folder / "corpora") / entry.file
    if not _is_the_text(target, entry):
        _download(entry, target, cache_folder / "corpora" / entry.file, on_progress)
    return target


def _is_the_text(path: Path, entry: Entry) -> bool:
    try:
        if path.stat().st_size != entry.bytes:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    except OSError:
        return False


def _download(entry: Entry, target: Path, by_hand: Path, on_progress: Progress | None) -> None:
    try:
        request = urllib.request.Request(entry.url, headers={"User-Agent": "charlstm"})
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(entry, by_hand, f"it could not be downloaded ({_reason(error)})") from error
    digest, size = hashlib.sha256(), 0
    with response, written_whole(target) as file:
        while size <= entry.bytes:
            try:
                piece = response.read(PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _failed(entry, by_hand, f"the download broke off ({_reason(error)})") from error
            if not piece:
                break
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            if on_progress:
                on_progress(f"downloading {entry.name}", size, entry.bytes)
        if digest.hexdigest() != entry.sha256:
            raise _failed(entry, by_hand, "what came from its address is another text (the SHA-256 differs)")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def _failed(entry: Entry, by_hand: Path, what: str) -> UserError:
    places = [by_hand]
    if (CHECKOUT_DATA / "catalogue.json").exists():
        places.insert(0, CHECKOUT_DATA / entry.file)
    present = next((place for place in places if place.exists()), None)
    note = f" ({present} is there, but it is not this text: its SHA-256 differs.)" if present else ""
    return UserError(
        f"corpus {entry.name!r}: {what}. Fetch {entry.url} by hand and save it as "
        f"{' or '.join(str(place) for place in places)} (SHA-256 {entry.sha256}).{note}"
    )
