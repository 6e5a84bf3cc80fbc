"""What stands between documents: separators that have a name, any other text, and which of them is meant."""

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
"""Characters that are looked through at a time."""

END_MARKS = {"newline": "\n", "blank_line": "\n\n"}
"""The separators that have a name, and the text that ends each of their documents."""

_ALSO_CALLED = {
    "newline": r"(new ?|end of |each |per )?line( ?(end|ending|break|feed))?s?|nl|lf|cr ?lf|eol|(\\r|/r)?(\\|/)n",
    "blank_line": r"((blank|empty|double new) ?(line)?|para(graph)?)s?|((\\r|/r)?(\\|/)n){2}",
}
_RARE = 100

Places: TypeAlias = npt.NDArray[np.int64]


def end_text(separator: str) -> str:
    """The text that ends a document: that of a separator with a name, else the separator itself."""
    return END_MARKS.get(separator, separator)


def called(separator: str) -> str | None:
    """The separator with a name that a text is likely to mean: ``newline`` for "lines" or a written-out ``\\n``."""
    words = re.sub(r"[\s_-]+", " ", separator.strip("\"' ").lower())
    return next((name for name, pattern in _ALSO_CALLED.items() if re.fullmatch(pattern, words)), None)


def question(ids: npt.NDArray[np.integer], vocabulary: Vocabulary, separator: str, documents: int) -> str:
    """What to ask where a separator cuts a text [N] into so few documents that one with a name is likely to be meant;
    "" where it is not: if one with a name is called like it, it stands no more often, otherwise not 100 times as often.
    """
    meant = called(separator)
    if separator in END_MARKS or (meant is None and documents > len(ids) // _RARE):
        return ""
    name = meant or "newline"
    try:
        mark = vocabulary.encode(END_MARKS[name])
    except UserError:
        return ""
    count = sum(len(places) for places in _by_block(ids, mark))
    release(ids)
    often = count > documents * (1 if meant else _RARE)
    return f"did you mean {name}, which stands in it {count:,} times?" if often else ""


def occurrences(ids: npt.NDArray[np.integer], pattern: Places) -> Places:
    """Where the pattern begins in a text [N], at every place, overlapping or not: ascending."""
    return np.concatenate([np.empty(0, np.int64), *_by_block(ids, pattern)])


def _by_block(ids: npt.NDArray[np.integer], pattern: Places) -> Iterator[Places]:
    size = len(pattern)
    for begin in range(0, len(ids) - size + 1, BLOCK):
        block = np.asarray(ids[begin : begin + BLOCK + size - 1])
        rows = len(block) - size + 1
        here = block[:rows] == pattern[0]
        for offset in range(1, size):
            here &= block[offset : offset + rows] == pattern[offset]
        yield begin + np.flatnonzero(here)
