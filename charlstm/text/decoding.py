"""Bytes to text, in one way for the texts to train on and for those that are given to a trained model."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Callable, Iterator

from charlstm.errors import UserError
from charlstm.text.recognition import HEAD, Finding, likely_encodings, recognise
from charlstm.text.unpacking import unpack

BYTE_ORDER_MARK = "\ufeff"

Pieces = Callable[[], Iterator[bytes]]
"""Gives the bytes of a text, unpacked, from their beginning each time."""


def decode(content: bytes, encoding: str, name: str = "") -> str:
    """The text of a file's whole content as training reads it from that file: unpacked if it is compressed, decoded,
    without a byte-order mark, with its line ends as they are.

    Args:
        encoding: that of the run, ``corpus.encoding``. With ``"bytes"`` the text stands for bytes as
            `Vocabulary.encode` takes them: UTF-8, with surrogate escapes for what is none.
        name: the file's, for errors.

    Raises:
        UserError: it is not text in this encoding, or its compression is damaged.
    """
    content = unpack(content, name or "this")
    if encoding == "bytes":
        return content.decode("utf-8", "surrogateescape")
    encoding = codecs.lookup(encoding).name

    def pieces() -> Iterator[bytes]:
        return iter([content])

    refuse_other(pieces, encoding, name, given=True)
    return "".join(text for _, text in decoded(pieces, encoding, name, given=True))


def decoded(pieces: Pieces, encoding: str, name: str, given: bool = False) -> Iterator[tuple[bytes, str]]:
    """The bytes, each piece with the characters that become complete in it, without a byte-order mark at the beginning.
    The last piece may be ``b""``. ``given``: to a trained model, whose encoding it is; else a text to train on.

    Raises:
        UserError: they are not text in this encoding (with byte offset, line and column).
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    begin, started = 0, False
    for piece in _with_end(pieces()):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # The decoder's input is what it had kept from before, and this piece.
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


def refuse_other(pieces: Pieces, encoding: str, name: str, given: bool = False) -> None:
    """Raise UserError for what its beginning shows to be no text in this encoding, although it may decode."""
    if finding := recognise(_around(pieces(), 0), encoding):
        raise _refused(finding, encoding, name, given)


def _with_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _around(pieces: Iterator[bytes], offset: int) -> bytes:
    """The ``HEAD`` bytes from some way before a place on."""
    begin, found = max(0, offset - HEAD // 2), bytearray()
    for piece in pieces:
        found += piece[begin:]
        begin = max(0, begin - len(piece))
        if len(found) >= HEAD:
            break
    return bytes(found[:HEAD])


def _place(pieces: Iterator[bytes], encoding: str, offset: int) -> str:
    """Where a byte is, in words; what comes before it is read again and can be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    line, column, left = 1, 1, offset
    for piece in pieces:
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


def _undecodable(what: str, offset: int, pieces: Pieces, encoding: str, name: str, given: bool) -> UserError:
    what = f"is not text in {encoding}: {what} at {_place(pieces(), encoding, offset)}"
    return _refused(Finding(what, likely_encodings(_around(pieces(), offset), encoding)), encoding, name, given)


def _refused(finding: Finding, encoding: str, name: str, given: bool) -> UserError:
    file = shlex.quote(name) if name else "FILE"
    first, *more = finding.encodings or [""]
    others = f" (or {', '.join(more)}, ...)" if more else ""
    if finding.remedy:
        advice = finding.remedy.replace("FILE", file)
    elif given and first:
        target = encoding.removesuffix("-sig")
        advice = f"This model reads {target}. Convert the text: iconv -f {first} -t {target} {file} > NEW{others}"
    elif given:
        advice = "Choose a text"
    elif first:
        advice = (
            f"Name its true encoding, such as --set corpus.encoding={first}{others}, or learn its raw bytes: "
            "--set corpus.encoding=bytes"
        )
    else:
        advice = "Choose a text, or learn its raw bytes: --set corpus.encoding=bytes"
    return UserError(f"{name or 'this'} {finding.what}. {advice}")
