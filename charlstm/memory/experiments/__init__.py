"""The experiments: what each trains, what it measures, and how it tells of it. A file in this folder is discovered;
its section of a configuration is in :mod:`charlstm.config.experiments`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from charlstm.config import MemoryConfig
from charlstm.errors import UserError
from charlstm.memory.experiments.base import STUDIES, Study, study
from charlstm.memory.grid import Grid

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["STUDIES", "Study", "make_studies", "study"]


def make_studies(config: MemoryConfig, grid: Grid, only: list[str]) -> dict[str, Study]:
    """The experiments that the file asks for, or those of them that are named.

    Raises UserError for a task that there is not, such as one that is too short.
    """
    found: dict[str, Study] = {}
    for name in config.experiments.present():
        if not only or name in only:
            try:
                found[name] = STUDIES[name](config, grid)
            except ValueError as error:
                raise UserError(f"experiments.{name}: {error}") from None
    return found
