"""Decoding of bytes to text, the same for training texts and for texts given to a trained model."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Callable, Iterator

from charlstm.errors import UserError
from charlstm.text.recognition import HEAD, Mismatch, detect_mismatch, likely_encodings
from charlstm.text.unpacking import unpack

BYTE_ORDER_MARK = "\ufeff"

Pieces = Callable[[], Iterator[bytes]]
"""Returns an iterator over the decompressed bytes of a text; each call starts at the beginning."""


def decode(content: bytes, encoding: str, name: str = "") -> str:
    """The text of a file's content as training reads it: decompressed, decoded, without a byte-order mark, with its
    line endings.

    Args:
        encoding: the encoding of the run, ``corpus.encoding``. With ``"bytes"`` the text represents bytes as
            `Vocabulary.encode` expects them: UTF-8, with surrogate escapes for invalid bytes.
        name: the name of the file, for errors.

    Raises:
        UserError: the content is not text in this encoding, or its compression is damaged.
    """
    content = unpack(content, name or "this")
    if encoding == "bytes":
        return content.decode("utf-8", "surrogateescape")
    encoding = codecs.lookup(encoding).name

    def pieces() -> Iterator[bytes]:
        return iter([content])

    check_format(pieces, encoding, name, given=True)
    return "".join(text for _, text in decoded(pieces, encoding, name, given=True))


def decoded(pieces: Pieces, encoding: str, name: str, given: bool = False) -> Iterator[tuple[bytes, str]]:
    """Each piece of the bytes with the characters that become complete in it, without a leading byte-order mark.

    The last piece may be ``b""``. ``given``: the text is given to a trained model, whose encoding is fixed; it is not
    a training text.

    Raises:
        UserError: the bytes are not text in this encoding (with byte offset, line and column).
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    begin, started = 0, False
    for piece in _with_end(pieces()):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # The decoder's input is its buffer from earlier pieces followed by this piece.
            offset = begin + len(piece) - len(error.object) + error.start
            byte = f"byte 0x{error.object[error.start]:02X}"
            raise _undecodable(byte, offset, pieces, encoding, name, given) from error
        except UnicodeError as error:
            raise _undecodable(f"{error},", begin, pieces, encoding, name, given) from error
        if not started and text:
            started = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        begin += len(piece)
        yield piece, text


def check_format(pieces: Pieces, encoding: str, name: str, given: bool = False) -> None:
    """Raise UserError if the first bytes are not those of text in this encoding, even if they can be decoded."""
    if mismatch := detect_mismatch(_around(pieces(), 0), encoding):
        raise _mismatch_error(mismatch, encoding, name, given)


def _with_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _around(pieces: Iterator[bytes], offset: int) -> bytes:
    """``HEAD`` bytes around an offset."""
    begin, content = max(0, offset - HEAD // 2), bytearray()
    for piece in pieces:
        content += piece[begin:]
        begin = max(0, begin - len(piece))
        if len(content) >= HEAD:
            break
    return bytes(content[:HEAD])


def _position(pieces: Iterator[bytes], encoding: str, offset: int) -> str:
    """Offset, line and column of a byte, in words; the bytes before it are read again."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    line, column, left = 1, 1, offset
    for piece in pieces:
        try:
            text = decoder.decode(piece[:left])
        except UnicodeError:  # a codec without "ignore"
            break
        newlines = text.count("\n")
        line += newlines
        column = len(text) - text.rfind("\n") if newlines else column + len(text.removeprefix(BYTE_ORDER_MARK))
        left -= len(piece)
        if left <= 0:
            break
    return f"offset {offset:,} (line {line:,}, column {column:,})"


def _undecodable(what: str, offset: int, pieces: Pieces, encoding: str, name: str, given: bool) -> UserError:
    what = f"is not text in {encoding}: {what} at {_position(pieces(), encoding, offset)}"
    return _mismatch_error(Mismatch(what, likely_encodings(_around(pieces(), offset), encoding)), encoding, name, given)


def _mismatch_error(mismatch: Mismatch, encoding: str, name: str, given: bool) -> UserError:
    file = shlex.quote(name) if name else "FILE"
    first, *more = mismatch.encodings or [""]
    others = f" (or {', '.join(more)}, ...)" if more else ""
    if mismatch.remedy:
        advice = mismatch.remedy.replace("FILE", file)
    elif given and first:
        target = encoding.removesuffix("-sig")
        advice = f"This model reads {target}. Convert the text: iconv -f {first} -t {target} {file} > NEW{others}"
    elif given:
        advice = "Choose a text file"
    elif first:
        advice = (
            f"Set its true encoding, such as --set corpus.encoding={first}{others}, or train on its raw bytes: "
            "--set corpus.encoding=bytes"
        )
    else:
        advice = "Choose a text file, or train on its raw bytes: --set corpus.encoding=bytes"
    return UserError(f"{name or 'this'} {mismatch.what}. {advice}")
