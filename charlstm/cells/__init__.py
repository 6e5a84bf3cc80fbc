"""The cells, one a file. A new file in this folder is a new cell: nothing else needs to know of it."""

from importlib import import_module
from pkgutil import iter_modules

from charlstm.cells.base import CELLS, Cell, cell, find

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["CELLS", "Cell", "cell", "find"]
