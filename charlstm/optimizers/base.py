"""The registry of optimizers: functions from parameter groups and the training section to a ``torch.optim.Optimizer``.

The first paragraph of the module's docstring documents it in ``charlstm config``. Its state must consist of tensors,
each of the shape of its parameter or a scalar, that all exist after one step: checkpoints rely on it. If
:func:`is_capturable` is true, a CUDA graph must be able to repeat its step.
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
CAPTURING_DEVICES = ("cuda",)
"""Devices on which training steps are captured: there the optimizer's step number must be a tensor on the device, and
the learning rate of each group is one."""


@dataclass(frozen=True)
class OptimizerFactory:
    """A configurable optimizer. ``make(groups, training)`` builds it."""

    name: str
    make: Make

    @property
    def summary(self) -> str:
        """Its description with the source: the first paragraph of its module's docstring."""
        text = sys.modules[self.make.__module__].__doc__ or self.name
        return " ".join(text.split("\n\n")[0].split())


OPTIMIZERS: dict[str, OptimizerFactory] = {}


def optimizer(make: Make) -> Make:
    """Register the decorated function as an optimizer under its name."""
    OPTIMIZERS[make.__name__] = OptimizerFactory(make.__name__, make)
    return make


def is_capturable(groups: Groups) -> bool:
    """Whether steps of these groups of parameters may be captured in a CUDA graph."""
    return all(p.device.type in CAPTURING_DEVICES for group in groups for p in group["params"])
