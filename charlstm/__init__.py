"""Character-level recurrent language models: train, sample, compare.

``charlstm.load("runs/x")`` gives a trained run: ``generate(...)``, ``score(text)``, ``model``, ``vocabulary``,
``config``. Recurrent layers with the interface of torch.nn are in ``charlstm.nn``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from charlstm.errors import UserError

if TYPE_CHECKING:
    from charlstm import nn
    from charlstm.training.loaded import LoadedRun, load

__version__ = "0.1.0"
__all__ = ["LoadedRun", "UserError", "__version__", "load", "nn"]


def __getattr__(name: str) -> Any:  # torch takes seconds to import: only when asked for
    if name in ("load", "LoadedRun"):
        return getattr(importlib.import_module("charlstm.training.loaded"), name)
    if name == "nn":
        return importlib.import_module("charlstm.nn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
