"""Character-level recurrent language models: train, sample, compare.

``charlstm.load("runs/x")`` gives a trained run: ``generate(...)``, ``score(text)``, ``model``, ``vocabulary``,
``config``. Recurrent layers with the interface of torch.nn are in ``charlstm.nn``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlstm.training.loaded import LoadedRun, load

__version__ = "0.1.0"
__all__ = ["LoadedRun", "__version__", "load"]


def __getattr__(name: str) -> Any:  # torch takes seconds to import: only when asked for
    if name in ("load", "LoadedRun"):
        from charlstm.training import loaded

        return getattr(loaded, name)
    raise AttributeError(name)
