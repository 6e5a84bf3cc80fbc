"""Initializers that several cells use.

An initializer overwrites a parameter, which was drawn as in torch.nn, in place and without gradients; its further
arguments are the cell's options of these names. An initializer of a single cell is defined in that cell's file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Initializer = Callable[..., None]


def zeros(parameter: Tensor) -> None:
    """Fill with zeros."""
    parameter.zero_()
