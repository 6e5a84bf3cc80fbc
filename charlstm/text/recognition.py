"""What the beginning of a file tells of it where its encoding would decode it to noise, or not at all."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import numpy as np

HEAD = 1 << 16
"""Bytes of a file that are looked at."""

_SPREAD = 16  # bytes from which on the places of NULs tell an encoding
_FEW = 8  # NULs, or kinds of control characters, that a text may have whatever their share
_LARGEST_SHARE = 0.01  # of its characters that may be such
_MANY = 256  # characters from which on kinds of control characters are counted
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_MARKS = (  # the longer ones first: that of utf-16-le begins that of utf-32-le
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_FORMATS = (
    (
        rb"PK\x03\x04",
        "a zip archive, as .docx, .odt and .epub are too",
        "Unpack it (unzip FILE), or export it as plain text",
    ),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it: zstd -d FILE"),
    (rb"\x1f\x9d", "compressed with compress", "Unpack it: uncompress FILE"),
    (rb"\x1f\x8b\x08[\x00-\x1f]|BZh[1-9]1AY&SY|\xfd7zXZ\x00", "compressed twice", "Unpack it once"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it: 7z x FILE"),
    (rb"Rar!\x1a\x07", "a rar archive", "Unpack it: unrar x FILE"),
    (rb".{257}ustar", "a tar archive", "Unpack it: tar -xf FILE"),
    (rb"%PDF-[0-9]", "a PDF document", "Take the text out of it: pdftotext FILE"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", "Export it as plain text"),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP", "a picture", "Choose a text"),
)
_CONTROL = re.compile("[\x00-\x07\x0e-\x19\x1c-\x1f]")
"""Control characters that no text file has for a reason: all but BS, white space, DOS's end of file and ESC."""


@dataclass(frozen=True)
class Finding:
    """What a file is instead of text in the encoding that was named for it."""

    what: str
    """The end of a sentence that begins with the file's name."""
    encodings: tuple[str, ...] = ()
    """Those that it may be in, the likeliest first; none if it is no text."""
    remedy: str = ""
    """What to do with it, if it is known."""


def recognise(head: bytes, encoding: str) -> Finding | None:
    """What the first bytes of a file show that it is instead of text in this encoding (a canonical name); None if it
    may well be such a text, and always for ``bytes``."""
    if encoding == "bytes":
        return None
    for pattern, what, remedy in _FORMATS:
        if re.match(pattern, head, re.DOTALL):
            return Finding(f"is {what}, not a text", remedy=remedy)
    for mark, *names in _MARKS:
        if head.startswith(mark):
            if encoding in names or names[0] == encoding:
                break
            return _other(encoding, names[0], f"it begins with the byte-order mark of {names[0]}")
    else:
        if (other := _unmarked(head)) not in ("", encoding):
            return _other(encoding, other, f"its NUL bytes stand where {other} has them")
        if encoding in _WIDE and len(head) >= 2 * _SPREAD and b"\0" not in head and _is_utf8(head):
            return _other(encoding, "utf-8", "it is text in utf-8")
        if head and encoding in ("utf-16", "utf-32"):
            return Finding(
                f"is not text in {encoding}: it has no byte-order mark", (f"{encoding}-le", f"{encoding}-be")
            )
    return _noise(_decoded(head, encoding), encoding)


def likely_encodings(piece: bytes, encoding: str) -> tuple[str, ...]:
    """The encodings in which bytes that are no text in this one may be, by Python's names that iconv knows too."""
    if encoding != "utf-8" and _is_utf8(piece):
        return ("utf-8",)
    codes = np.frombuffer(piece, np.uint8)
    high = codes[codes >= 0x80]
    if len(high) > 0.4 * len(codes):  # no Latin script
        return ("cp1251", "gb18030", "shift-jis", "euc-kr")
    return ("cp1252",) if (high < 0xA0).any() and encoding != "cp1252" else ("latin-1",)


def _other(encoding: str, other: str, why: str) -> Finding:
    return Finding(f"is not text in {encoding}: {why}", (other,))


def _unmarked(head: bytes) -> str:
    """utf-16 or utf-32 without a mark, by the places of its NULs; "" if it is none of these, or cannot be told."""
    if len(head) < _SPREAD:
        return ""
    codes = np.frombuffer(head[: len(head) // 4 * 4], np.uint8).reshape(-1, 4)
    a, b, c, d = (codes == 0).mean(0)
    if min(c, d) > 0.9 and a < 0.1:
        other = "utf-32-le"
    elif min(a, b) > 0.9 and d < 0.1:
        other = "utf-32-be"
    elif abs(b + d - a - c) > 0.9 * (a + b + c + d) and (a + b + c + d > 1 or (codes == 0).sum() >= _SPREAD):
        other = "utf-16-le" if b + d > a + c else "utf-16-be"
    else:
        return ""
    return "" if _noise(_decoded(head, other), other) else other


def _decoded(head: bytes, encoding: str) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)("ignore").decode(head)
    except UnicodeError:  # a codec that knows no "ignore"
        return ""


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _noise(text: str, encoding: str) -> Finding | None:
    nuls = text.count("\0")
    if nuls >= _FEW and nuls > _LARGEST_SHARE * len(text):
        what = f"is not text in {encoding}: {nuls / len(text):.0%} of its first {len(text):,} characters are NUL"
        between = "\0\0" not in text
        return Finding(what, remedy="If NUL stands between documents: tr '\\0' '\\n' < FILE > NEW" if between else "")
    found = _CONTROL.findall(text) if len(text) >= _MANY else []
    if len(set(found)) >= _FEW and len(found) > _LARGEST_SHARE * len(text):
        share = f"{len(found) / len(text):.0%} of its first {len(text):,} characters"
        return Finding(f"is not text in {encoding}: {share} are control characters")
    return None
