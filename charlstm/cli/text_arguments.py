"""Arguments that are a text, or say where one is to be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from charlstm.paths import expanded

LARGEST_PROMPT = 1 << 24
LARGEST_TEXT = 1 << 30
"""Bytes that are read at most: what standard input holds may have no end."""

TEXT_HELP = "@FILE reads it from a file, - from standard input, as the corpus is read; @@ at its beginning is a plain @"

Text = TypeVar("Text")
Decode = Callable[[bytes, str], Text]
"""What was read, and the name of the file, empty for standard input: gives the text; raises ValueError or UserError."""


def text_argument(option: str, given: str, decode: Decode[Text]) -> str | Text:
    """What an option says that takes a text: the text itself, or what the file or standard input holds.

    Raises UserError, with the option in front, if that cannot be read, is no regular file, or is too large.
    """
    if given.startswith("@@"):
        return given[1:]
    if given == "-":
        return _read(option, given, None, decode, LARGEST_PROMPT)
    if given.startswith("@"):
        return _read(option, given, expanded(given[1:]), decode, LARGEST_PROMPT)
    return given


def file_argument(option: str, given: str | Path, decode: Decode[Text], limit: int = LARGEST_TEXT) -> Text:
    """What the regular file holds that an option names; ``-`` is standard input. Raises as `text_argument` does."""
    return _read(option, str(given), None if given == "-" else expanded(given), decode, limit)


def _read(option: str, given: str, path: Path | None, decode: Decode[Text], limit: int) -> Text:
    from charlstm.errors import UserError
    from charlstm.standard_streams import read_in

    try:
        content = read_in(limit + 1) if path is None else _file(path, limit)
        if len(content) > limit:
            raise UserError(f"longer than {limit:,} bytes")
        return decode(content, "" if path is None else str(path))
    except (OSError, ValueError) as error:  # a ValueError: a text in another encoding
        raise UserError(f"{option} {given}: cannot read it: {getattr(error, 'strerror', None) or error}") from None
    except UserError as error:
        raise UserError(f"{option} {given}: {error}") from None


def _file(path: Path, limit: int) -> bytes:
    from charlstm.errors import UserError
    from charlstm.files import open_regular, regular_size

    if (size := regular_size(path)) > limit:
        raise UserError(f"it has {size:,} bytes; at most {limit:,} are read at once")
    with open_regular(path) as file:
        return file.read(limit + 1) or b""
