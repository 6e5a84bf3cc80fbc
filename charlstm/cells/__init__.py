"""The recurrent cells, one per file; every file in this folder is imported and registers its cells."""

from importlib import import_module
from pkgutil import iter_modules

from charlstm.cells.base import CELLS, Cell, cell, derived_cell, find, from_recipe

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["CELLS", "Cell", "cell", "derived_cell", "find", "from_recipe"]
