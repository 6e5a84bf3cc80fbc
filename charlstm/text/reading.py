"""Source files read in pieces, so that a text of any size takes constant memory."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from charlstm.errors import UserError
from charlstm.files import open_regular, regular_size, unreadable
from charlstm.text.vocabulary import Codes, codes_of_text

PIECE = 1 << 18
BYTE_ORDER_MARK = "\ufeff"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how far it is, and how far it will go (0: unknown)."""


@dataclass(frozen=True)
class Source:
    """A file of text: the name to show, and where it lies."""

    name: str
    path: Path


def check_encoding(encoding: str) -> str:
    """The codec's canonical name, or ``"bytes"``.

    Raises:
        UserError: Python has no such text encoding.
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
        nearest = difflib.get_close_matches(encoding.lower().replace("_", "-"), sorted(known), n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UserError(
            f"unknown encoding {encoding!r}: {hint}Give a Python text encoding "
            "(utf-8, latin-1, gb18030, ...) or `bytes`."
        ) from error
    return name


def check_file(path: Path) -> int:
    """Size in bytes of a regular file.

    Raises:
        UserError: it is missing, a folder, a pipe or a device, or cannot be reached.
    """
    if _is_folder(path):
        raise UserError(f"{path}: this is a folder, not a text: name its files, for example {str(path / '*.txt')!r}")
    return regular_size(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long, say: opening it tells
        return False


def read_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, piece by piece.

    Raises:
        UserError: it cannot be read.
    """
    with open_regular(path) as file:
        try:
            while piece := file.read(PIECE):
                yield piece
        except OSError as error:
            raise unreadable(path, error) from error


def hash_sources(sources: list[Source], on_progress: Progress | None = None) -> tuple[str, list[int]]:
    """SHA-256 (hex) of all files' bytes one after the other, and each file's size in bytes."""
    total = sum(check_file(source.path) for source in sources)
    digest, done, sizes = hashlib.sha256(), 0, []
    for source in sources:
        size = 0
        for piece in read_pieces(source.path):
            digest.update(piece)
            size += len(piece)
            if on_progress:
                on_progress(f"checking {source.name}", done + size, total)
        sizes.append(size)
        done += size
    return digest.hexdigest(), sizes


def read_codes(source: Source, encoding: str) -> Iterator[tuple[bytes, Codes]]:
    """The bytes of a file, piece by piece, each with the code points that become complete in it.

    The code points are uint8 where the piece is bytes or all ASCII, else uint32.

    A byte-order mark at the start of a file is dropped (not with ``bytes``); line ends stay as they are.
    The last piece may be ``b""``.

    Raises:
        UserError: the file is not text in this encoding (with byte offset, line and column), or cannot be read.
    """
    if encoding == "bytes":
        for piece in read_pieces(source.path):
            yield piece, np.frombuffer(piece, np.uint8)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    begin, started = 0, False
    for piece in _with_end(read_pieces(source.path)):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # The decoder's input is what it had kept from before, and this piece.
            offset = begin + len(piece) - len(error.object) + error.start
            byte = f"byte 0x{error.object[error.start]:02X}"
            raise _undecodable(source, encoding, f"{byte} at {_place(source.path, encoding, offset)}") from error
        except UnicodeError as error:
            raise _undecodable(source, encoding, f"{error}, at {_place(source.path, encoding, begin)}") from error
        if not started and text:
            started = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        begin += len(piece)
        yield piece, _codes(text)


def _codes(text: str) -> Codes:
    """The code points of a text: in one byte each where it is all ASCII, which is many times faster."""
    return np.frombuffer(text.encode("ascii"), np.uint8) if text.isascii() else codes_of_text(text)


def _with_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _place(path: Path, encoding: str, offset: int) -> str:
    """Where a byte is, in words; what comes before it is read again and can be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    line, column, left = 1, 1, offset
    for piece in read_pieces(path):
        try:
            text = decoder.decode(piece[:left])
        except UnicodeError:  # a codec that knows no "ignore"
            break
        newlines = text.count("\n")
        line += newlines
        column = len(text) - text.rfind("\n") if newlines else column + len(text.removeprefix(BYTE_ORDER_MARK))
        left -= len(piece)
        if left <= 0:
            break
    return f"offset {offset:,} (line {line:,}, column {column:,})"


def _undecodable(source: Source, encoding: str, where: str) -> UserError:
    start = next(read_pieces(source.path), b"")
    marked = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    other = next(name for name in (marked, "latin-1") if name != encoding)
    return UserError(
        f"{source.name} is not text in {encoding}: {where}. Name its true encoding, such as "
        f"--set corpus.encoding={other}, or learn its raw bytes: --set corpus.encoding=bytes"
    )
