"""A penalty for repeating passages: DRY ("don't repeat yourself", p-e-w 2024, text-generation-webui #5677), in
characters instead of tokens.

Let m(c) be the length of the longest passage that ends the text and that c followed before. Where m(c) >= N, the logit
of c is reduced by 0.8 * 1.15^(m(c) - N) nats (1.15 per character is about 1.75, DRY's base, per token of four). A
repeat of N characters is free; from then on the penalty grows, so that the text leaves the repeat where the model is
least certain, at the beginning of a word rather than within it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MULTIPLIER = 0.8
BASE = 1.15
MAX_EXCESS = 60  # m - N, at which no other character can be less likely


def repetition_penalties(ids: npt.NDArray[np.integer], no_repeat: int, vocabulary_size: int) -> npt.NDArray[np.float32]:
    """The penalties [V], in nats, to subtract from the logits of the character after a text, ids [N]."""
    penalties = np.zeros(vocabulary_size, np.float32)
    if len(ids) == 0:
        return penalties
    ends = np.flatnonzero(ids[:-1] == ids[-1])  # where passages end that also end the text
    for length in range(1, no_repeat + MAX_EXCESS + 1):
        if length >= no_repeat:
            penalties[ids[ends + 1]] = MULTIPLIER * BASE ** (length - no_repeat)
        ends = ends[ends >= length]
        ends = ends[ids[ends - length] == ids[-1 - length]] if len(ends) else ends
        if not len(ends):
            break
    return penalties
