"""Held-out scores of n-gram models of growing order: what the bits of a trained model mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from charlstm.probes.ngram import Ids, NGram
from charlstm.units import bits

LIMIT = 1_000_000
"""Characters of training text that are counted; of a longer text, the last ones."""
HELD_OUT_LIMIT = 200_000
"""Characters of held-out text that are scored, the first ones."""


def ngram_bits(
    train: Ids,
    held_out: Ids,
    vocabulary_size: int,
    orders: Sequence[int],
    on_order: Callable[[int], None] = lambda _: None,
) -> dict[int, float]:
    """The held-out score, in bits per character, of interpolated Kneser-Ney models of these ascending orders.

    Args:
        train: the ids [N] whose n-grams are counted; see `LIMIT`.
        held_out: the ids [M] that are scored, the first with no context; see `HELD_OUT_LIMIT`.
        on_order: called after each order.

    Returns:
        For each order, the bits; orders above the length of the training text are left out.
    """
    train, held_out = train[-LIMIT:], held_out[:HELD_OUT_LIMIT]
    used = [order for order in orders if order <= len(train)]
    if not used or not len(held_out):
        return {}
    scores = {}
    for model in NGram.of_orders(train, vocabulary_size, used):
        scores[model.order] = bits(float(np.mean(model.predict(held_out).nats)))
        on_order(model.order)
    return scores
