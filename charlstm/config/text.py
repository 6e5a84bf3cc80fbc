"""Reading the text of a configuration file, and resolving its unquoted scalars."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from charlstm.config.misplaced import reject_address, reject_text
from charlstm.errors import UserError
from charlstm.files import open_regular, read_error
from charlstm.spelling import near_file

MAX_BYTES = 1 << 20

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}


def read_text(path: Path) -> str:
    """The text of a configuration file. Raises UserError if it is missing, not UTF-8, or far too long."""
    try:
        path.lstat()
    except FileNotFoundError:
        reject_address(path)
        siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        match = near_file(path.name, siblings)
        raise UserError(
            f"{path}: there is no such file." + (f" Did you mean {path.parent / match}?" if match else "")
        ) from None
    except (OSError, ValueError) as error:
        raise read_error(path, error) from None
    with open_regular(path) as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise read_error(path, error) from None
    reject_text(path, content)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: longer than {MAX_BYTES} bytes: is this a configuration file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text (byte {content[error.start]:#04x}): save it as UTF-8") from None


def resolve(text: str) -> Any:
    """The value of an unquoted scalar in YAML 1.2's core schema; numbers with a leading zero, 0x or 0o stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= 400:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
