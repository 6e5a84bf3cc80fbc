"""A file as symbols of a vocabulary, whatever its bytes are, and back.

The symbol V stands for a character that the vocabulary lacks; these are stored separately, in the order of the text.
Bytes that are not text in the encoding are characters, too: the lone surrogates of Python's ``surrogateescape``.
"""

from __future__ import annotations

import codecs
import lzma
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.text.vocabulary import Vocabulary, codes_of_text

BYTES = "bytes"
ANY_BYTES = "utf-8"
"""The encoding in which all bytes are text."""
LARGEST_CODE = 0x10FFFF
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


class DamagedSymbolsError(Exception):
    """The symbols are not those of a file."""


@dataclass(frozen=True)
class Symbols:
    """A file. ids [N]: 0 to V; codes: the code points (or bytes) of the characters with the id V."""

    ids: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint32]
    encoding: str


def to_symbols(content: bytes, vocabulary: Vocabulary, encoding: str) -> Symbols:
    """The symbols of a file for a model whose corpus has this encoding.

    A file that is not text in this encoding, or would not be restored exactly, is read as UTF-8.
    """
    if vocabulary.kind == "bytes":
        encoding, codes = BYTES, np.frombuffer(content, np.uint8).astype(np.uint32)
    else:
        encoding = codecs.lookup(encoding).name
        text = _decode_exactly(content, encoding)
        if text is None:
            encoding, text = ANY_BYTES, content.decode(ANY_BYTES, "surrogateescape")
        codes = codes_of_text(text)
    ids = vocabulary.ids_of_codes(codes).astype(np.int64)
    unknown = ids < 0
    ids[unknown] = vocabulary.size
    return Symbols(ids, codes[unknown].copy(), encoding)


def to_bytes(symbols: Symbols, vocabulary: Vocabulary) -> bytes:
    """The file of these symbols. Raises DamagedSymbolsError if there is none."""
    escaped = symbols.ids == vocabulary.size
    if escaped.sum() != len(symbols.codes) or (symbols.encoding == BYTES) != (vocabulary.kind == "bytes"):
        raise DamagedSymbolsError
    known = np.array([ord(symbol) for symbol in vocabulary.symbols] + [0], np.uint32)
    codes = known[symbols.ids]
    codes[escaped] = symbols.codes
    if codes.max(initial=0) > (255 if symbols.encoding == BYTES else LARGEST_CODE):
        raise DamagedSymbolsError
    if symbols.encoding == BYTES:
        return codes.astype(np.uint8).tobytes()
    try:
        text = codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return text.encode(symbols.encoding, "surrogateescape" if symbols.encoding == ANY_BYTES else "strict")
    except (ValueError, LookupError):
        raise DamagedSymbolsError from None


def pack_codes(codes: npt.NDArray[np.uint32]) -> bytes:
    """Code points as bytes: all low bytes, then all middle ones, then all high ones; compressed if that is shorter,
    which the first byte tells."""
    planes = b"".join((codes >> shift & 255).astype(np.uint8).tobytes() for shift in (0, 8, 16))
    return min(b"\0" + planes, b"\1" + lzma.compress(planes, lzma.FORMAT_RAW, filters=_FILTERS), key=len)


def unpack_codes(packed: bytes, count: int) -> npt.NDArray[np.uint32]:
    """What :func:`pack_codes` packed. Raises DamagedSymbolsError if that was not ``count`` code points."""
    planes = packed[1:]
    if packed[:1] == b"\1":
        try:
            planes = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS).decompress(planes, 3 * count + 1)
        except lzma.LZMAError:
            raise DamagedSymbolsError from None
    if len(planes) != 3 * count:
        raise DamagedSymbolsError
    low, middle, high = np.frombuffer(planes, np.uint8).astype(np.uint32).reshape(3, count)
    codes: npt.NDArray[np.uint32] = low | middle << np.uint32(8) | high << np.uint32(16)
    return codes


def _decode_exactly(content: bytes, encoding: str) -> str | None:
    """The text of the bytes, from which they are restored; None if there is none."""
    try:
        text = content.decode(encoding)
        return text if text.encode(encoding) == content else None
    except UnicodeError:
        return None
