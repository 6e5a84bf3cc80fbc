"""The beginning of a text and its rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from charlstm.errors import UserError
from charlstm.evaluation.score import Text
from charlstm.text.documents import Documents
from charlstm.text.splits import MAX_GAP


def beginning_and_rest(text: Text, characters: int) -> tuple[Text, Text, int]:
    """The first ``characters`` characters of a text, or at most half of it; the rest of the text; and how many
    characters the beginning has. Of independent documents, as many whole ones as have so many characters, but at least
    one.

    Raises UserError if the text is a single character or document.
    """
    if isinstance(text, Documents) and not text.is_running_text:
        if len(text) < 2:
            raise UserError("there is only one document: none is left to score if settings are tuned on it")
        sizes = np.cumsum(text.ends - text.starts)
        half = int(np.searchsorted(sizes, sizes[-1] // 2, side="right"))
        first = max(1, min(int(np.searchsorted(sizes, characters)) + 1, half))
        beginning = text.select(slice(first))
        return beginning, text.select(slice(first, None)), beginning.characters
    size = text.characters if isinstance(text, Documents) else len(text)
    if size < 2:
        raise UserError("the text is too short to tune on one part of it and to score the other: use a longer text")
    count = min(characters, size // 2)
    if isinstance(text, Documents):
        return *_divided_blocks(text, count), count
    return text[:count], text[count:], count


def _divided_blocks(text: Documents, characters: int) -> tuple[Documents, Documents]:
    """Blocks of a running text as those with its first characters and those with the others. The block in which the
    boundary is has a part in both, each with up to `MAX_GAP` characters of the other as context."""
    begins, ends = text.scored_bounds
    blocks = replace(text, scored=begins, scored_ends=ends)
    sizes = np.cumsum(ends - begins)
    divided = int(np.searchsorted(sizes, characters))
    cut = int(ends[divided] - (sizes[divided] - characters))
    if cut == ends[divided]:
        return blocks.select(slice(divided + 1)), blocks.select(slice(divided + 1, None))
    first, second = blocks.select(slice(divided + 1)), blocks.select(slice(divided, None))
    last, start = min(int(text.ends[divided]), cut + MAX_GAP), max(int(text.starts[divided]), cut - MAX_GAP)
    return (
        replace(first, ends=np.append(first.ends[:-1], last), scored_ends=np.append(ends[:divided], cut)),
        replace(second, starts=np.append(start, second.starts[1:]), scored=np.append(cut, begins[divided + 1 :])),
    )
