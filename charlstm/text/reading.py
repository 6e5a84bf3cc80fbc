"""Reading of source files in pieces, in constant memory."""

from __future__ import annotations

import codecs
import encodings.aliases
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from charlstm.errors import UserError
from charlstm.files import open_regular, read_error, regular_size
from charlstm.paths import is_folder
from charlstm.spelling import near
from charlstm.text.decoding import check_format, decoded
from charlstm.text.preparation import Changes, Preparation
from charlstm.text.unpacking import unpacked
from charlstm.text.vocabulary import Codes, codes_of_text

PIECE = 1 << 18

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a description, the number of bytes done, and the total (0: unknown)."""


@dataclass(frozen=True)
class Source:
    """A text file: its displayed name and its path."""

    name: str
    path: Path


def check_encoding(encoding: str) -> str:
    """The codec's canonical name, or ``"bytes"``.

    Raises:
        UserError: it is not a text encoding of Python.
    """
    if encoding.strip().lower() == "bytes":
        return "bytes"
    try:
        name = codecs.lookup(encoding).name
        codecs.getincrementaldecoder(encoding)
        b"a".decode(encoding)
    except UnicodeError:
        return name
    except (LookupError, ValueError) as error:
        known = {
            "bytes",
            "utf-8",
            "latin-1",
            *(alias.replace("_", "-") for alias in encodings.aliases.aliases),
        }
        nearest = near(encoding.replace("_", "-"), sorted(known))
        hint = f"did you mean {nearest!r}? " if nearest else ""
        raise UserError(
            f"unknown encoding {encoding!r}: {hint}Use a Python text encoding "
            "(utf-8, latin-1, gb18030, ...) or `bytes`."
        ) from error
    return name


def check_file(path: Path) -> int:
    """Size in bytes of a regular file.

    Raises:
        UserError: it is missing, a folder, a pipe or a device, or cannot be accessed.
    """
    if is_folder(path):
        raise UserError(f"{path}: this is a folder, not a text: name its files, for example {str(path / '*.txt')!r}")
    return regular_size(path)


def read_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces, decompressed if it is a gzip, bzip2 or xz file.

    Raises:
        UserError: it cannot be read or decompressed.
    """
    with open_regular(path) as file:
        try:
            yield from unpacked(file, str(path), PIECE)
        except OSError as error:
            raise read_error(path, error) from error


def hash_sources(sources: list[Source], on_progress: Progress | None = None) -> tuple[str, list[int]]:
    """SHA-256 (hex) of the decompressed bytes of all files, concatenated, and the decompressed size of each file."""
    total = sum(check_file(source.path) for source in sources)
    digest, done, sizes = hashlib.sha256(), 0, []
    for source in sources:
        size = 0
        for piece in read_pieces(source.path):
            digest.update(piece)
            size += len(piece)
            if on_progress:
                on_progress(f"checking {source.name}", done + size, total if done + size <= total else 0)
        sizes.append(size)
        done += size
    return digest.hexdigest(), sizes


def content_digest(sources: list[Source]) -> str:
    """The digest of :func:`hash_sources`, which a process computes again only if a file has changed."""
    states = [(source.path, source.path.stat()) for source in sources]
    return _content_digest(tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in states))


@lru_cache(maxsize=64)
def _content_digest(files: tuple[tuple[str, int, int], ...]) -> str:
    return hash_sources([Source(path, Path(path)) for path, *_ in files])[0]


def check_text(source: Source, encoding: str) -> None:
    """Raise UserError if the file does not begin like text in this encoding, even if it can be decoded."""
    check_format(partial(read_pieces, source.path), encoding, source.name)


def read_codes(
    source: Source, encoding: str, preparation: Preparation, on_piece: Callable[[bytes], None], changes: Changes
) -> Iterator[Codes]:
    """The code points or bytes of a file, prepared, in pieces; ``on_piece`` is called with each piece of its bytes.

    The code points are uint8 if the piece is bytes or all ASCII, else uint32. A byte-order mark at the start of a file
    is dropped, except with ``bytes``. The preparation adds to ``changes``.

    Raises:
        UserError: the file is not text in this encoding (with byte offset, line and column), or cannot be read.
    """
    pieces = partial(read_pieces, source.path)
    if encoding == "bytes":
        for piece in pieces():
            on_piece(piece)
            yield np.frombuffer(piece, np.uint8)
        return

    def texts() -> Iterator[str]:
        for piece, text in decoded(pieces, encoding, source.name):
            on_piece(piece)
            yield text

    yield from map(_codes, preparation.apply(source.name, texts(), changes))


def _codes(text: str) -> Codes:
    """The code points of a text: uint8 if it is all ASCII, which is many times faster, else uint32."""
    return np.frombuffer(text.encode("ascii"), np.uint8) if text.isascii() else codes_of_text(text)
