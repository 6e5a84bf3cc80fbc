"""Detection of files that are not text in the expected encoding, from their first bytes."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import numpy as np

HEAD = 1 << 16
"""Number of bytes that are inspected."""

_MIN_BYTES = 16  # needed to detect an encoding from the positions of NULs
_FEW = 8  # NULs, or distinct control characters, that any text may have
_MAX_FRACTION = 0.01  # of the characters may be NULs or control characters
_MIN_CHARACTERS = 256  # needed to count control characters
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_MARKS = (  # longest first: the mark of utf-16-le is a prefix of that of utf-32-le
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_FORMATS = (
    (
        rb"PK\x03\x04",
        "a zip archive (.docx, .odt and .epub files are, too)",
        "Unpack it (unzip FILE), or export it as plain text",
    ),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it: zstd -d FILE"),
    (rb"\x1f\x9d", "compressed with compress", "Unpack it: uncompress FILE"),
    (rb"\x1f\x8b\x08[\x00-\x1f]|BZh[1-9]1AY&SY|\xfd7zXZ\x00", "compressed twice", "Unpack it once"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it: 7z x FILE"),
    (rb"Rar!\x1a\x07", "a rar archive", "Unpack it: unrar x FILE"),
    (rb".{257}ustar", "a tar archive", "Unpack it: tar -xf FILE"),
    (rb"%PDF-[0-9]", "a PDF document", "Extract its text: pdftotext FILE"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", "Export it as plain text"),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP", "an image", "Choose a text file"),
)
_CONTROL = re.compile("[\x00-\x07\x0e-\x19\x1c-\x1f]")
"""Control characters that do not belong in text files: all but BS, white space, DOS's end of file and ESC."""


@dataclass(frozen=True)
class Mismatch:
    """What a file is instead of text in the expected encoding."""

    what: str
    """The end of a sentence that begins with the name of the file."""
    encodings: tuple[str, ...] = ()
    """Its possible encodings, the likeliest first; empty if it is not text."""
    remedy: str = ""
    """What the user can do, if known."""


def detect_mismatch(head: bytes, encoding: str) -> Mismatch | None:
    """Detect from the first bytes of a file that it is not text in this encoding (a canonical name). None if it may be
    such text, and always for ``bytes``."""
    if encoding == "bytes":
        return None
    for pattern, what, remedy in _FORMATS:
        if re.match(pattern, head, re.DOTALL):
            return Mismatch(f"is {what}, not a text", remedy=remedy)
    for mark, *names in _MARKS:
        if head.startswith(mark):
            if encoding in names or names[0] == encoding:
                break
            return _other(encoding, names[0], f"it begins with the byte-order mark of {names[0]}")
    else:
        if (other := _unmarked(head)) not in ("", encoding):
            return _other(encoding, other, f"its NUL bytes are at the positions of {other}")
        if encoding in _WIDE and len(head) >= 2 * _MIN_BYTES and b"\0" not in head and _is_utf8(head):
            return _other(encoding, "utf-8", "it is text in utf-8")
        if head and encoding in ("utf-16", "utf-32"):
            return Mismatch(
                f"is not text in {encoding}: it has no byte-order mark", (f"{encoding}-le", f"{encoding}-be")
            )
    return _noise(_decoded(head, encoding), encoding)


def likely_encodings(piece: bytes, encoding: str) -> tuple[str, ...]:
    """Possible encodings of bytes that are not text in ``encoding``, by names that both Python and iconv know."""
    if encoding != "utf-8" and _is_utf8(piece):
        return ("utf-8",)
    codes = np.frombuffer(piece, np.uint8)
    high = codes[codes >= 0x80]
    if len(high) > 0.4 * len(codes):  # not a Latin script
        return ("cp1251", "gb18030", "shift-jis", "euc-kr")
    return ("cp1252",) if (high < 0xA0).any() and encoding != "cp1252" else ("latin-1",)


def _other(encoding: str, other: str, why: str) -> Mismatch:
    return Mismatch(f"is not text in {encoding}: {why}", (other,))


def _unmarked(head: bytes) -> str:
    """utf-16 or utf-32 without a byte-order mark, detected from the positions of NULs; "" if it is neither."""
    if len(head) < _MIN_BYTES:
        return ""
    codes = np.frombuffer(head[: len(head) // 4 * 4], np.uint8).reshape(-1, 4)
    a, b, c, d = (codes == 0).mean(0)
    if min(c, d) > 0.9 and a < 0.1:
        other = "utf-32-le"
    elif min(a, b) > 0.9 and d < 0.1:
        other = "utf-32-be"
    elif abs(b + d - a - c) > 0.9 * (a + b + c + d) and (a + b + c + d > 1 or (codes == 0).sum() >= _MIN_BYTES):
        other = "utf-16-le" if b + d > a + c else "utf-16-be"
    else:
        return ""
    return "" if _noise(_decoded(head, other), other) else other


def _decoded(head: bytes, encoding: str) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)("ignore").decode(head)
    except UnicodeError:  # a codec without "ignore"
        return ""


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _noise(text: str, encoding: str) -> Mismatch | None:
    nuls = text.count("\0")
    if nuls >= _FEW and nuls > _MAX_FRACTION * len(text):
        what = f"is not text in {encoding}: {nuls / len(text):.0%} of its first {len(text):,} characters are NUL"
        may_separate = "\0\0" not in text
        return Mismatch(what, remedy="If NUL separates documents: tr '\\0' '\\n' < FILE > NEW" if may_separate else "")
    controls = _CONTROL.findall(text) if len(text) >= _MIN_CHARACTERS else []
    if len(set(controls)) >= _FEW and len(controls) > _MAX_FRACTION * len(text):
        fraction = f"{len(controls) / len(text):.0%} of its first {len(text):,} characters"
        return Mismatch(f"is not text in {encoding}: {fraction} are control characters")
    return None
