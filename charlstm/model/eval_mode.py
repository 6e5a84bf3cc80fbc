"""A model as it is used, not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from charlstm.executors.precision import float32_products
from charlstm.model.language_model import LanguageModel


@contextmanager
def eval_mode(model: LanguageModel) -> Iterator[None]:
    """Without dropout, and in float32 with all its bits, while the block lasts; then in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with float32_products(model.head.weight.device, rounded=False):
            yield
    finally:
        model.train(training)
