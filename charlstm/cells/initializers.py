"""Initialisers that several cells share. An initialiser overwrites a parameter, drawn as in torch.nn, in place; its
further arguments are the cell's options of these names, and it runs without gradients. A cell with an initialiser of
its own has it in its file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Initialiser = Callable[..., None]


def zeros(parameter: Tensor) -> None:
    """All zero."""
    parameter.zero_()
