"""Environment variables that the libraries of a process read."""

from __future__ import annotations

import os


def set_environment() -> None:
    """Set what trainings need, unless it is set. Call it before torch is loaded; where it is, at least the second
    setting has an effect until the first matmul on a GPU."""
    # By default, waiting threads of GNU OpenMP spin for milliseconds, which stalls training on a busy machine. It reads
    # this when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Without it cuDNN's recurrent layers are not deterministic (see the notes of torch.nn.LSTM).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
