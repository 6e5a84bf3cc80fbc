"""A little of what a model writes, to look at."""

from __future__ import annotations

from collections.abc import Callable

from charlstm.generation.sampler import Sampling, generate
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

DOCUMENTS = 20  # written side by side


def specimen(
    model: LanguageModel,
    vocabulary: Vocabulary,
    length: int,
    sampling: Sampling,
    seed: int,
    end: str = "",
    between: Callable[[], None] = lambda: None,
) -> str:
    """``length`` characters of text; of a model of documents, which end in ``end``, as many whole ones as fit into so
    many characters, up to 20, with the first in any case, cut off if need be. ``between`` is as for `generate`."""
    count = DOCUMENTS if end else 1
    found = generate(
        model, vocabulary, "", length, sampling, seed, count, end, between=between, leave_out_until=bool(end)
    )
    shown, left = [found[0].whole], length - len(found[0].whole)
    for sample in found[1:]:
        left -= len(end) + len(sample.whole)
        if left < 0:
            break
        shown.append(sample.whole)
    return end.join(shown)
