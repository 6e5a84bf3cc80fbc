"""Character-level recurrent language models: train, sample, compare.

``charlstm.train("poem.txt", minutes=1)`` trains a run, and ``charlstm.load("runs/x")`` loads one: it has
``generate(...)``, ``score(text)``, ``model``, ``vocabulary`` and ``config``; see :mod:`charlstm.api`.
``charlstm.inspect(run)`` finds what its units do, ``charlstm.export(run)`` makes a page that writes. ``charlstm.nn``
has recurrent layers with the interface of torch.nn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from charlstm.errors import UserError

if TYPE_CHECKING:
    from charlstm import nn
    from charlstm.api import Infilled, LoadedRun, Sample, Score, load
    from charlstm.exports.export import export
    from charlstm.inspection.inspect import inspect
    from charlstm.text_training import train

__version__ = "0.1.0"
__all__ = [
    "Infilled",
    "LoadedRun",
    "Sample",
    "Score",
    "UserError",
    "__version__",
    "export",
    "inspect",
    "load",
    "nn",
    "train",
]


def __getattr__(name: str) -> Any:  # importing torch takes seconds: only on first use
    if name == "nn":
        return importlib.import_module("charlstm.nn")
    if name == "inspect":
        return importlib.import_module("charlstm.inspection.inspect").inspect
    if name == "train":
        return importlib.import_module("charlstm.text_training").train
    if name == "export":
        return importlib.import_module("charlstm.exports.export").export
    if name in __all__:
        return getattr(importlib.import_module("charlstm.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
