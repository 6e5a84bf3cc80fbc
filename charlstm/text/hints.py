"""Hints at settings that a text is likely to need: one line each, and none for ordinary prose."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from charlstm.text.corpus import Corpus
from charlstm.text.tables import column_names, is_table, listed_columns

SAMPLE = 1 << 18
"""Characters at the beginning of the text that are inspected."""

_UNFINISHED = tuple(",;:-(\u2013\u2014\uff0c\uff1b\uff1a")
_MIN_LINES = 100
_LONG_LINE = 100
_LONG_LINE_OF_IDEOGRAPHS = 40
_LARGE_ALPHABET = 200
_FEW_OCCURRENCES = 40


def text_hints(corpus: Corpus) -> list[str]:
    """What the user may want to set for this text: a column of a table, documents for a list of lines, line ends, a
    longer text."""
    text = corpus.vocabulary.decode(corpus.ids[:SAMPLE])
    hints = [_large_alphabet(corpus)]
    if corpus.vocabulary.kind == "characters" and corpus.documents is None:
        hints += [_carriage_returns(text), _table(corpus.sources, text) or _independent_lines(text)]
    return [hint for hint in hints if hint]


def is_list(corpus: Corpus) -> bool:
    """Whether a running text looks like a list of independent lines: names, titles, words."""
    return (
        corpus.vocabulary.kind == "characters"
        and corpus.documents is None
        and bool(_independent_lines(corpus.vocabulary.decode(corpus.ids[:SAMPLE])))
    )


def _large_alphabet(corpus: Corpus) -> str:
    """Each character of a text with so large an alphabet occurs a few times only."""
    size, characters = corpus.distinct, int(corpus.ids.size)
    if size < _LARGE_ALPHABET or characters >= _FEW_OCCURRENCES * size:
        return ""
    return (
        f"{size:,} different characters in a text of {characters:,}: most occur too rarely to be learned, so "
        "expect little; a longer text helps"
    )


def _table(sources: Sequence[str], text: str) -> str:
    """The text is a file that is a table by its name, and its first line names several columns."""
    if len(sources) > 1 or not is_table(sources[0]):
        return ""
    columns = column_names(sources[0], text.partition("\n")[0].rstrip("\r"))
    if len(columns) < 2:
        return ""
    return (
        "it is a table, of which the model learns every sign; --set corpus.column=NAME trains on the texts of a "
        f"column: {listed_columns(columns)}"
    )


def has_crlf_lines(corpus: Corpus) -> bool:
    """Whether most lines of a text end in CR LF, two characters; those of bytes are not looked at."""
    return corpus.vocabulary.kind == "characters" and _has_crlf_lines(corpus.vocabulary.decode(corpus.ids[:SAMPLE]))


def _has_crlf_lines(text: str) -> bool:
    breaks = text.count("\r\n")
    return breaks > 0 and 2 * breaks >= text.count("\n")


def _carriage_returns(text: str) -> str:
    if not _has_crlf_lines(text):
        return ""
    return (
        "its lines end in CR LF, two characters that the model learns to write; --set corpus.normalize=true makes "
        "them LF"
    )


def _independent_lines(text: str) -> str:
    """Lines are short, are not wrapped, and none goes on in the next one: names, titles, words."""
    lines = text.replace("\r\n", "\n").split("\n")[:-1]
    lengths = np.array([len(line) for line in lines])
    is_ideographic = sum(character >= "\u3000" for character in text) > len(text) / 2
    long = _LONG_LINE_OF_IDEOGRAPHS if is_ideographic else _LONG_LINE
    if len(lines) < _MIN_LINES or np.quantile(lengths, 0.9) > long or (lengths == 0).mean() > 0.01:
        return ""
    filled = [line for line in lines if line]
    goes_on = sum(line.rstrip()[-1:] in _UNFINISHED or line[0].isspace() for line in filled)
    width = int(np.quantile(lengths, 0.98))
    firsts = [re.split(r"\s", line, maxsplit=1)[0] for line in filled[1:]]
    is_full = sum(
        len(line) + 1 + len(first) > width for line, first in zip(filled, firsts, strict=False) if " " in line
    )
    starts = [line[0].islower() for line in filled if line[0].isalpha()]
    mixed = min(np.mean(starts), 1 - np.mean(starts)) if starts else 0.0
    if goes_on > 0.1 * len(filled) or is_full > 0.5 * len(filled) or mixed > 0.2:
        return ""
    return (
        f"its lines look independent, like {filled[0].strip()[:20]!r} and {filled[1].strip()[:20]!r}; if they are, "
        "--set corpus.documents=newline"
    )
