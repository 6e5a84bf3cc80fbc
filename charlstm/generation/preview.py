"""A little of what a model writes, to look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from charlstm.generation.infilling import shown_infilling
from charlstm.generation.sampler import Sampling, generate
from charlstm.model import LanguageModel
from charlstm.text.documents import Documents, beginning
from charlstm.text.vocabulary import Vocabulary

DOCUMENTS = 20  # written side by side
SAMPLING = Sampling(temperature=0.8)


def preview(
    model: LanguageModel,
    vocabulary: Vocabulary,
    length: int,
    seed: int,
    end: str = "",
    held_out: npt.NDArray[np.integer] | Documents | None = None,
    between: Callable[[], None] = lambda: None,
) -> str:
    """``length`` characters of text at temperature 0.8; of a model of documents, which end in ``end``, as many whole
    ones as fit into so many characters, up to 20, with the first in any case, cut off if need be.

    A bidirectional model writes none: the beginning of the text ``held_out`` with a gap that it filled, or nothing
    without one. ``between`` is as for `generate`.
    """
    if model.bidirectional:
        return (
            "" if held_out is None else shown_infilling(model, vocabulary, beginning(held_out, length), seed, between)
        )
    count = DOCUMENTS if end else 1
    found = generate(
        model, vocabulary, "", length, SAMPLING, seed, count, end, between=between, leave_out_until=bool(end)
    )
    shown, left = [found[0].whole], length - len(found[0].whole)
    for sample in found[1:]:
        left -= len(end) + len(sample.whole)
        if left < 0:
            break
        shown.append(sample.whole)
    return end.join(shown)
