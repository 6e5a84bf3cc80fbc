"""The experiments: what each trains, measures and reports. Every module in this folder is imported.

Their configurations are in :mod:`charlstm.config.experiments`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from charlstm.config import MemoryConfig
from charlstm.errors import UserError
from charlstm.memory.experiments.base import EXPERIMENTS, MemoryExperiment, experiment
from charlstm.memory.grid import Grid

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["EXPERIMENTS", "MemoryExperiment", "experiment", "make_experiments"]


def make_experiments(config: MemoryConfig, grid: Grid, only: list[str]) -> dict[str, MemoryExperiment]:
    """Create the experiments of the file, or those in ``only``.

    Raises UserError if a task is not possible, for example because it is too short.
    """
    experiments: dict[str, MemoryExperiment] = {}
    for name in config.experiments.present():
        if not only or name in only:
            try:
                experiments[name] = EXPERIMENTS[name](config, grid)
            except ValueError as error:
                raise UserError(f"experiments.{name}: {error}") from None
    return experiments
