"""The ids of a text in a memory-mapped file of the cache, which is written once for each content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.cache import open_atomic, writable_folder
from charlstm.errors import UserError
from charlstm.text.preparation import Changes, Preparation, describe_changes
from charlstm.text.reading import Progress, Source, read_codes
from charlstm.text.vocabulary import Codes, Vocabulary

FORMAT = 2
"""Version of the cache files; increased when their format changes."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of cached ids, which are valid only with it."""

    format: int
    characters: int
    dtype: str
    vocabulary: str
    """That of the text alone."""
    file_ends: list[int]
    """The position at which each file ends."""
    changes: list[str]
    """One line for each kind of change to the text of the files."""


def encoded_ids(
    files: list[Source],
    encoding: str,
    preparation: Preparation,
    prepared: object,
    digest: str,
    sizes: Sequence[int],
    cache: Path,
    on_progress: Progress | None = None,
    characters: str = "",
) -> tuple[npt.NDArray[np.unsignedinteger], Metadata]:
    """The ids of the files, concatenated, as a read-only memory map, and what belongs to them; written if needed.

    Args:
        prepared: the key of the preparation.
        digest: SHA-256 (hex) of the bytes of all files.
        sizes: their bytes, a part of the key, since a byte-order mark is dropped only at the start of a file.
        characters: symbols of the vocabulary besides those of the text; the ids are those of all of them.

    Raises UserError as `charlstm.text.corpus.load_corpus` does for the content of the files.
    """
    parts = [FORMAT, digest, list(sizes), encoding, prepared, *([characters] if characters else [])]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    ids_name, metadata_name = f"{key}.ids", f"{key}.json"
    folder = cache / "ids"
    metadata = _valid_metadata(folder / ids_name, folder / metadata_name)
    if metadata is None:
        folder = writable_folder(folder)
        metadata = _valid_metadata(folder / ids_name, folder / metadata_name)
    if metadata is None:
        target = folder / ids_name
        metadata = _write_ids(files, encoding, preparation, digest, target, sum(sizes), on_progress, characters)
        with open_atomic(folder / metadata_name) as file:
            file.write(json.dumps(asdict(metadata)).encode())
    return np.memmap(folder / ids_name, dtype=metadata.dtype, mode="r", shape=(metadata.characters,)), metadata


def listed(names: tuple[str, ...]) -> str:
    """The names of files in a message."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _valid_metadata(ids: Path, file: Path) -> Metadata | None:
    try:
        metadata = Metadata(**json.loads(file.read_text(encoding="utf-8")))
        Vocabulary.from_json(metadata.vocabulary)
        is_complete = ids.stat().st_size == metadata.characters * np.dtype(metadata.dtype).itemsize
        return metadata if metadata.format == FORMAT and is_complete else None
    except (OSError, ValueError, TypeError):
        return None


class _DistinctCodes:
    """The set of code points or byte values that have occurred."""

    def __init__(self) -> None:
        self._small = b""
        self._all = np.zeros(0x110000, bool)

    def add(self, codes: Codes) -> None:
        if codes.dtype == np.uint8:
            self._small += bytes(set(codes.tobytes().translate(None, self._small)))
        else:
            self._all[codes] = True

    def codes(self) -> list[int]:
        self._all[list(self._small)] = True
        return [int(code) for code in np.flatnonzero(self._all)]


def _write_ids(
    files: list[Source],
    encoding: str,
    preparation: Preparation,
    digest: str,
    target: Path,
    total: int,
    on_progress: Progress | None,
    characters: str,
) -> Metadata:
    distinct = _DistinctCodes()
    length, file_ends, changes = 0, list[int](), Changes()
    report = _ByteCounter("counting", total, on_progress)
    for file in files:
        for codes in read_codes(file, encoding, preparation, report.of(file), changes):
            distinct.add(codes)
            length += codes.size
        file_ends.append(length)
    names = tuple(file.name for file in files)
    if length == 0:
        content = "only a byte-order mark"
        if preparation.column is not None:
            content = f"no text in column {preparation.column}"
        elif preparation.skip_header:
            content = "nothing after the first line, which corpus.skip_header leaves out"
        empty = f"the corpus is empty: {listed(names)} has {content}"
        raise UserError(f"{empty}. Set corpus.source to another text")
    vocabulary = Vocabulary.from_codes(distinct.codes(), "bytes" if encoding == "bytes" else "characters")
    if vocabulary.size == 1:
        raise UserError(
            f"there is nothing to learn from {listed(names)}: its {length:,} characters are all "
            f"the same, {vocabulary.symbols[0]!r}. Set corpus.source to a text with at least two distinct characters"
            if length > 1
            else f"there is nothing to learn from {listed(names)}: it is a single character, "
            f"{vocabulary.symbols[0]!r}. Set corpus.source to a longer text"
        )

    every = vocabulary.extended(characters)
    dtype = np.min_scalar_type(every.size - 1).newbyteorder("<")
    pack = every.packer(dtype)
    written = 0
    report = _ByteCounter("encoding", total, on_progress, hashlib.sha256())
    with open_atomic(target, length * dtype.itemsize) as output:
        for file in files:
            for codes in read_codes(file, encoding, preparation, report.of(file), Changes()):
                output.write(pack(codes))
                written += codes.size
        if report.content.hexdigest() != digest or written != length:
            raise UserError(f"{listed(names)} changed while it was being read: try again when it is complete")
    lines = describe_changes(preparation, changes, len(files))
    return Metadata(FORMAT, length, dtype.str, vocabulary.to_json(), file_ends, lines)


class _ByteCounter:
    """Reports the progress with the bytes of all files, and hashes them if it is given a hash."""

    def __init__(self, what: str, total: int, on_progress: Progress | None, content: Any = None) -> None:
        self._what, self._total, self._on_progress, self.content = what, total, on_progress, content
        self._done = 0

    def of(self, file: Source) -> Callable[[bytes], None]:
        """The function to call with each piece of a file."""

        def add(piece: bytes) -> None:
            if self.content is not None:
                self.content.update(piece)
            self._done += len(piece)
            if self._on_progress:
                self._on_progress(f"{self._what} {file.name}", self._done, self._total)

        return add
