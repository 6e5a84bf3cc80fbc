"""Command-line arguments that give a text, or the file to read it from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from charlstm.paths import expand_home

MAX_PROMPT_BYTES = 1 << 24
MAX_TEXT_BYTES = 1 << 30
"""Limits, since standard input may be endless."""

TEXT_HELP = (
    "@FILE reads it from a file and - from standard input, decoded like the corpus; @@ at its beginning is a literal @"
)

Text = TypeVar("Text")
Decode = Callable[[bytes, str], Text]
"""Called with the bytes and the name of the file, empty for standard input. Raises ValueError or UserError."""


def text_argument(option: str, given: str, decode: Decode[Text]) -> str | Text:
    """The text that an option gives: the argument itself, or the content of a file or of standard input.

    Raises UserError, which begins with the option, if it cannot be read, is not a regular file, or is too large.
    """
    if given.startswith("@@"):
        return given[1:]
    if given == "-":
        return _read(option, given, None, decode, MAX_PROMPT_BYTES)
    if given.startswith("@"):
        return _read(option, given, expand_home(given[1:]), decode, MAX_PROMPT_BYTES)
    return given


def file_argument(option: str, given: str | Path, decode: Decode[Text], limit: int = MAX_TEXT_BYTES) -> Text:
    """The text of the regular file that an option names; ``-`` is standard input. Raises UserError."""
    return _read(option, str(given), None if given == "-" else expand_home(given), decode, limit)


def _read(option: str, given: str, path: Path | None, decode: Decode[Text], limit: int) -> Text:
    from charlstm.errors import UserError
    from charlstm.standard_streams import read_stdin

    try:
        content = read_stdin(limit + 1) if path is None else _read_file(path, limit)
        if len(content) > limit:
            raise UserError(f"longer than {limit:,} bytes")
        return decode(content, "" if path is None else str(path))
    except (OSError, ValueError) as error:  # ValueError: the text has another encoding
        raise UserError(f"{option} {given}: cannot read it: {getattr(error, 'strerror', None) or error}") from None
    except UserError as error:
        raise UserError(f"{option} {given}: {str(error).removeprefix(f'{given}: ')}") from None


def _read_file(path: Path, limit: int) -> bytes:
    from charlstm.errors import UserError
    from charlstm.files import open_regular, regular_size

    if (size := regular_size(path)) > limit:
        raise UserError(f"the file has {size:,} bytes; the limit is {limit:,}")
    with open_regular(path) as file:
        return file.read(limit + 1) or b""
