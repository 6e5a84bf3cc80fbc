"""Decompression of gzip, bzip2 and xz files, in constant memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from charlstm.errors import UserError

_OPENERS = (
    (re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"), gzip.open, "gunzip"),
    (re.compile(rb"BZh[1-9]1AY&SY"), bz2.open, "bunzip2"),
    (re.compile(rb"\xfd7zXZ\x00"), lzma.open, "unxz"),
)
MAGIC = 10  # bytes that identify the compression
ALWAYS_ALLOWED = 1 << 28  # decompressed bytes
MAX_RATIO = 100  # of the sizes; text shrinks to a third or a tenth, a decompression bomb to a thousandth


def unpack(content: bytes, name: str = "this") -> bytes:
    """The content of a file, decompressed if it is compressed. Raises UserError as `unpacked`."""
    return b"".join(unpacked(io.BytesIO(content), name, max(1, len(content))))


def unpacked(file: BinaryIO, name: str, piece: int) -> Iterator[bytes]:
    """The bytes of an open file in pieces of ``piece`` bytes, decompressed if it is compressed.

    Raises:
        UserError: the compressed file is damaged or truncated, or decompresses to over 256 MiB and a hundred times its
            size.
        OSError: it cannot be read.
    """
    magic = file.read(MAGIC)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    opener, tool = next(((o, tool) for pattern, o, tool in _OPENERS if pattern.match(magic)), (None, ""))
    if opener is None:
        while content := file.read(piece):
            yield content
        return
    total, limit = 0, max(ALWAYS_ALLOWED, MAX_RATIO * size)
    try:
        with opener(file) as text:
            while content := text.read(piece):
                total += len(content)
                if total > limit:
                    raise UserError(
                        f"{name}: {size:,} bytes that decompress to over {limit:,}: this is hardly a text. If it is "
                        f"one, decompress it yourself ({tool}) and use the result"
                    )
                yield content
    except EOFError:
        raise UserError(f"{name}: the compressed file is truncated: its end is missing. Download it again") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise UserError(f"{name}: the compressed file is damaged ({error}). Download it again") from None
