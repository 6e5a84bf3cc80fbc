"""The beginning of a text and its rest."""

from __future__ import annotations

import numpy as np

from charlstm.errors import UserError
from charlstm.evaluation.score import Text
from charlstm.text.documents import Documents


def beginning_and_rest(text: Text, characters: int) -> tuple[Text, Text, int]:
    """The first ``characters`` characters of a text, or at most half of it, in whole documents; the rest of the text;
    and how many characters the beginning has.

    Raises UserError if the text is a single character or document.
    """
    if len(text) < 2:
        raise UserError("the text is too short to tune on one part of it and to score the other")
    if not isinstance(text, Documents):
        count = min(characters, len(text) // 2)
        return text[:count], text[count:], count
    sizes = np.cumsum(text.ends - text.starts)
    first = min(int(np.searchsorted(sizes, characters)) + 1, len(text) // 2)
    beginning = text.select(slice(first))
    return beginning, text.select(slice(first, None)), beginning.characters
