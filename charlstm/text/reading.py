"""Source files read in pieces, so that a text of any size takes constant memory."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import hashlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.vocabulary import codes_of_text

PIECE = 1 << 20
BYTE_ORDER_MARK = 0xFEFF

Codes: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
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
    """Size in bytes of a regular file that can be read.

    Raises:
        UserError: it is missing, a folder, a FIFO or device, or not readable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a folder, not a text: name its files, for example {str(path / '*.txt')!r}")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(
            f"{path} is not a regular file (a pipe or a device), and a corpus is read more than once: "
            "write the text to a file first"
        )
    return status.st_size


def read_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, piece by piece.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise _unreadable(path, error) from error


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

    A byte-order mark at the start of a file is dropped (not with ``bytes``); line ends stay as they are.
    The last piece may be ``b""``.

    Raises:
        UserError: the file is not text in this encoding (with byte offset and line), or cannot be read.
    """
    if encoding == "bytes":
        for piece in read_pieces(source.path):
            yield piece, np.frombuffer(piece, np.uint8)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    begin, lines, started = 0, 0, False
    for piece in _with_end(read_pieces(source.path)):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # The decoder's input is what it had kept from before, and this piece.
            offset = begin + len(piece) - len(error.object) + error.start
            line = lines + error.object[: error.start].decode(encoding, "ignore").count("\n") + 1
            where = f"byte 0x{error.object[error.start]:02X} at offset {offset:,} (line {line:,})"
            raise _undecodable(source, encoding, where) from error
        except UnicodeError as error:
            raise _undecodable(source, encoding, f"{error} (line {lines + 1:,})") from error
        codes = codes_of_text(text)
        begin += len(piece)
        lines += text.count("\n")
        if not started and codes.size:
            started = True
            if codes[0] == BYTE_ORDER_MARK:
                codes = codes[1:]
        yield piece, codes


def _with_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _undecodable(source: Source, encoding: str, where: str) -> UserError:
    others = [f"`encoding: {other}`" for other in ("utf-8", "latin-1", "bytes") if other != encoding]
    return UserError(
        f"{source.name} is not text in {encoding}: {where}. Name its true encoding, such as "
        f"{' or '.join(others[:-1])}, or take the file byte by byte with {others[-1]}."
    )


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or error}")
