"""A context manager for evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from charlstm.executors.precision import float32_matmul_precision, flush_subnormals
from charlstm.model.language_model import LanguageModel


@contextmanager
def eval_mode(model: LanguageModel) -> Iterator[None]:
    """Disable dropout and reduced-precision float32 matmuls within the block, and flush subnormal numbers; then restore
    the training mode."""
    training = model.training
    model.eval()
    try:
        with float32_matmul_precision(model.head.weight.device, tf32=False), flush_subnormals():
            yield
    finally:
        model.train(training)
