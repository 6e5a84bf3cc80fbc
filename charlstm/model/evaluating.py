"""A model as it is used, not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from charlstm.model.language_model import LanguageModel


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Without dropout while the block lasts; then in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
