"""The option ``--until`` of ``charlstm sample``: its text, and a note on texts that do not reach it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from charlstm.cli.text_arguments import Decode, check_known, end_argument, line_break_hint

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


def until_argument(given: str, loaded: LoadedRun, decode: Decode[str]) -> str:
    """The text of ``--until``, prepared like a prompt; empty only for a model of documents, which writes on past them.

    Raises UserError, which begins with the option, if the model cannot write it.
    """
    from charlstm.errors import UserError

    until = loaded.prepare(end_argument("--until", given, decode))
    if not until and not loaded.document_end:
        raise UserError("--until: the text is empty: give the text that ends a sample, or leave --until out")
    check_known("--until", given, until, loaded.vocabulary, "The model can never write it")
    return until


def note_unended(given: str, until: str, loaded: LoadedRun, unended: int, texts: int) -> None:
    """Print a note if some of the texts did not reach ``until``, which ``--until`` gave, with a likely reason."""
    from charlstm import console

    if not (until and unended):
        return
    which = "the text" if texts == 1 else f"{unended} of {texts} texts"
    console.note(f"note: {which} reached --length before --until. {_reason(given, until, loaded)}".rstrip(". "))


def _reason(given: str, until: str, loaded: LoadedRun) -> str:
    if {"\r", "\n"} <= set(loaded.vocabulary.symbols) and re.search(r"[^\r]\n", until):
        return "The training text has CR LF at ends of lines, --until has LF alone: write it as $'\\r\\n' in bash"
    return line_break_hint("--until", given)
