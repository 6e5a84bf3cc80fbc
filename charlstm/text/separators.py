"""Separators of documents: named ones, any other text, and hints if another one is likely meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.memory_map import release
from charlstm.text.vocabulary import Vocabulary

BLOCK = 1 << 24
"""Characters searched at a time."""

END_MARKS = {"newline": "\n", "blank_line": "\n\n", "file": "\x1c"}
"""The named separators -> the text that ends each document; Unicode's file separator is added to the end of a file."""

_SYNONYMS = {
    "newline": r"(new ?|end of |each |per )?line( ?(end|ending|break|feed))?s?|nl|lf|cr ?lf|eol|(\\r|/r)?(\\|/)n",
    "blank_line": r"((blank|empty|double new) ?(line)?|para(graph)?)s?|((\\r|/r)?(\\|/)n){2}",
}
_RARE = 100

Positions: TypeAlias = npt.NDArray[np.int64]


def end_text(separator: str) -> str:
    """The text that ends a document: that of a named separator, else the separator itself."""
    return END_MARKS.get(separator, separator)


def meant_separator(separator: str) -> str | None:
    """The named separator that a text is likely to mean: ``newline`` for "lines" or an escaped ``\\n``."""
    words = re.sub(r"[\s_-]+", " ", separator.strip("\"' ").lower())
    return next((name for name, pattern in _SYNONYMS.items() if re.fullmatch(pattern, words)), None)


def separator_hint(ids: npt.NDArray[np.integer], vocabulary: Vocabulary, separator: str, documents: int) -> str:
    """A question to the user if a named separator is likely meant, since it is more frequent in the text [N]; else "".

    A named separator that the text is a synonym of must be more frequent than ``documents``; else newline must be 100
    times as frequent.
    """
    meant = meant_separator(separator)
    if separator in END_MARKS or (meant is None and documents > len(ids) // _RARE):
        return ""
    name = meant or "newline"
    try:
        mark = vocabulary.encode(END_MARKS[name])
    except UserError:
        return ""
    count = sum(len(positions) for positions in _by_block(ids, mark))
    release(ids)
    is_frequent = count > documents * (1 if meant else _RARE)
    return f"did you mean {name}, which occurs in it {count:,} times?" if is_frequent else ""


def occurrences(ids: npt.NDArray[np.integer], pattern: Positions) -> Positions:
    """The positions at which the pattern begins in a text [N], ascending; occurrences may overlap."""
    return np.concatenate([np.empty(0, np.int64), *_by_block(ids, pattern)])


def _by_block(ids: npt.NDArray[np.integer], pattern: Positions) -> Iterator[Positions]:
    size = len(pattern)
    for begin in range(0, len(ids) - size + 1, BLOCK):
        block = np.asarray(ids[begin : begin + BLOCK + size - 1])
        rows = len(block) - size + 1
        matches = block[:rows] == pattern[0]
        for offset in range(1, size):
            matches &= block[offset : offset + rows] == pattern[offset]
        yield begin + np.flatnonzero(matches)
