"""The optimizers, one per module. A new module in this package registers a new optimizer, without other changes."""

from importlib import import_module
from pkgutil import iter_modules

from charlstm.optimizers.base import OPTIMIZERS, Groups, OptimizerFactory, is_capturable, optimizer

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["OPTIMIZERS", "Groups", "OptimizerFactory", "is_capturable", "optimizer"]
