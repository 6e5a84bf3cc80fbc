"""What an optimiser is: a function from parameter groups and the training section to a ``torch.optim.Optimizer``.

The first paragraph of its file's docstring documents it in ``charlstm config``. Its state holds tensors only, each of
the shape of its parameter or a scalar, and is complete after one step; checkpoints store and check it by that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

Groups = list[dict[str, Any]]
"""Parameter groups with their ``weight_decay``."""
Make = Callable[[Groups, Any], "Optimizer"]


@dataclass(frozen=True)
class OptimizerFactory:
    """An optimiser that a configuration may name. ``make(groups, training)`` builds it."""

    name: str
    make: Make

    @property
    def summary(self) -> str:
        """What it is, with its source: the first paragraph of its file's docstring."""
        text = sys.modules[self.make.__module__].__doc__ or self.name
        return " ".join(text.split("\n\n")[0].split())


OPTIMIZERS: dict[str, OptimizerFactory] = {}


def optimizer(make: Make) -> Make:
    """Register the decorated function as an optimiser under its name."""
    OPTIMIZERS[make.__name__] = OptimizerFactory(make.__name__, make)
    return make
