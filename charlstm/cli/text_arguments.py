"""Command-line arguments that give a text, or the file to read it from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from charlstm.paths import expand_home

if TYPE_CHECKING:
    from charlstm.text.vocabulary import Vocabulary

MAX_PROMPT_BYTES = 1 << 24
MAX_TEXT_BYTES = 1 << 30
"""Limits, since standard input may be endless."""

TEXT_HELP = (
    "@FILE reads it from a file and - from standard input, decoded like the corpus; @@ at its beginning is a literal @"
)

REMOVE = "Remove what the model does not know from the text"
"""What to do about unknown characters, for a command that skips none."""

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


@contextmanager
def unless_text_is_given() -> Iterator[None]:
    """Around the reading of a run's corpus that ``--text`` can replace: the error of one that has changed says so."""
    from charlstm.api.trained_model import ChangedCorpusError
    from charlstm.errors import UserError

    try:
        yield
    except ChangedCorpusError as problem:
        raise UserError(f"{problem}; give the text itself: --text FILE") from None


def end_argument(option: str, given: str, decode: Decode[Text]) -> str | Text:
    """A text that ends others, as :func:`text_argument` gives it, but ``-`` is that character. Raises UserError."""
    return given if given == "-" else text_argument(option, given, decode)


def check_known(
    option: str, given: str, text: str, vocabulary: Vocabulary, remedy: str = "", gap: str | None = None
) -> None:
    """Raises UserError, which begins with the option, for characters of its text outside the vocabulary.

    Args:
        given: the argument, from which the text was made.
        remedy: what to do, if not to remove or skip them.
        gap: a character of the text that need not be in the vocabulary.
    """
    from charlstm.errors import UserError
    from charlstm.text.vocabulary import UnknownSymbolsError

    try:
        vocabulary.encode(text, gap=gap)
    except UnknownSymbolsError as error:
        name = f"{option} {given}" if _names_file(given) else option
        hint = "" if "\\" in vocabulary.symbols else line_break_hint(option, given)
        raise UserError(f"{name}: {error.found}. {hint}{remedy or error.remedy}") from None


def line_break_hint(option: str, given: str) -> str:
    """How to write the line break or tab that an argument has as ``\\n``, ``\\r`` or ``\\t``; empty if it has none."""
    match = None if _names_file(given) else re.search(r"\\[nrt]", given)
    if match is None:
        return ""
    name = "tab" if match[0] == r"\t" else "line break"
    return f"A {name} is written $'{match[0]}' in bash, or given in a file: {option} @FILE. "


def _names_file(given: str) -> bool:
    return given == "-" or (given.startswith("@") and not given.startswith("@@"))


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
