"""The file format of compressed files: a header that tells damage and foreign models apart, and the coded symbols."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from charlstm.errors import UserError

MAGIC = b"\x93charlstm"
FORMAT = 1
DIGEST = 16
"""Bytes of the SHA-256 digests of the model and of the original that are stored."""
MAX_FIELD = (1 << 63) - 1


@dataclass(frozen=True)
class Container:
    """A compressed file.

    model       the digest of the model; ``step``: the training step of its checkpoint, for messages
    original    the digest of the original; ``length``: its bytes
    encoding    of the symbols, see :mod:`charlstm.compression.symbols`
    symbols     number of symbols, in ``streams`` streams
    rate        k, if the readout learns at 2^-k; 0: it does not
    escapes     number of symbols that the vocabulary lacks, and ``codes``: their packed code points
    blocks      the coded symbols
    """

    model: bytes
    step: int
    original: bytes
    length: int
    encoding: str
    symbols: int
    streams: int
    rate: int
    escapes: int
    codes: bytes
    blocks: tuple[bytes, ...]

    def pack(self) -> bytes:
        """The content of the file."""
        name = self.encoding.encode()
        numbers = (self.step, self.length, self.symbols, self.streams, self.rate, self.escapes)
        fields = [*map(_number, numbers), *map(_bytes, (name, self.codes)), _number(len(self.blocks))]
        body = b"".join([self.model, self.original, *fields, *map(_bytes, self.blocks)])
        return b"".join([MAGIC, bytes([FORMAT]), _number(len(body)), zlib.crc32(body).to_bytes(4, "little"), body])


def unpack(content: bytes, name: str) -> Container:
    """The container in a file's content. Raises UserError, with the name of the file, for damaged and other files."""
    if not content.startswith(MAGIC):
        what = "it is empty" if not content else "it was not written by charlstm compress"
        cut = ", or is cut off" if content and MAGIC.startswith(content) else ""
        raise UserError(f"{name}: this is not a compressed file: {what}{cut}")
    reader = _Reader(content, len(MAGIC))
    try:
        version = reader.take(1)[0]
        if version != FORMAT:
            raise UserError(f"{name}: it has format {version}; this version of charlstm reads format {FORMAT}")
        size, checksum = reader.number(), int.from_bytes(reader.take(4), "little")
        body = content[reader.at :]
        if len(body) != size:
            missing = size - len(body)
            raise UserError(
                f"{name}: the file is cut off: {missing:,} of its bytes are missing. Get it again"
                if missing > 0
                else f"{name}: the file is damaged: {-missing:,} bytes follow its end. Get it again"
            )
        if zlib.crc32(body) != checksum:
            raise UserError(f"{name}: the file is damaged: its checksum does not match. Get it again")
        model, original = reader.take(DIGEST), reader.take(DIGEST)
        step, length, symbols, streams, rate, escapes = (reader.number() for _ in range(6))
        encoding, codes = reader.bytes().decode("ascii"), reader.bytes()
        blocks = tuple(reader.bytes() for _ in range(reader.number()))
        reader.check_end()
        return Container(model, step, original, length, encoding, symbols, streams, rate, escapes, codes, blocks)
    except (IndexError, ValueError):
        raise UserError(f"{name}: the file is damaged: its header is not valid. Get it again") from None


def _number(value: int) -> bytes:
    """A number >= 0 in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _bytes(content: bytes) -> bytes:
    return _number(len(content)) + content


class _Reader:
    """Reads fields from a position on. Raises IndexError at the end, and ValueError for a number that is too large."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self.at = content, at

    def take(self, count: int) -> bytes:
        if count > len(self._content) - self.at:
            raise IndexError
        self.at += count
        return self._content[self.at - count : self.at]

    def number(self) -> int:
        value = shift = 0
        while True:
            group = self.take(1)[0]
            value |= (group & 127) << shift
            shift += 7
            if value > MAX_FIELD:
                raise ValueError
            if group < 128:
                return value

    def bytes(self) -> bytes:
        return self.take(self.number())

    def check_end(self) -> None:
        if self.at != len(self._content):
            raise ValueError
