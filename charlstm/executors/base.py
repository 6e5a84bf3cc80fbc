"""What every executor shares: the weights of a layer, the input side, and the form of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import Cell

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer in one direction, in torch's layout.

    weight_ih [GH, I], weight_hh [GH, H], bias_ih and bias_hh [GH] or None; parameters: name -> [nH], as the cell
    declares.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    parameters: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def hidden_size(self) -> int:
        return self.weight_hh.shape[1]

    @property
    def input_size(self) -> int:
        return self.weight_ih.shape[1]


class Executor(Protocol):
    """A way to run a cell along a sequence.

    ``run`` is pure: (x, state) -> (y, new state), time-major. x is [T, B, I], or whole numbers [T, B]: ids of one-hot
    vectors, where the id I stands for the zero vector. Each part of the state is [B, H]; y is [T, B, H].
    What requires no gradient costs no work on the way back, and where nothing does, nothing is kept for it.
    Under ``torch.autocast`` the products are made in the autocast type; states stay in the type of the weights, and y
    comes in either of the two.
    """

    @property
    def name(self) -> str:
        """By which a configuration asks for it."""

    @property
    def devices(self) -> tuple[str, ...] | None:
        """The types of device that it is made for, such as ``cuda``; None: all."""

    @property
    def automatic(self) -> bool:
        """Whether ``auto`` may select it."""

    @property
    def stacks(self) -> StackRunner | None:
        """Runs all layers of a stack in one call; None: it runs layer by layer."""

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        """Why this executor cannot do it, in a few words; None if it can."""

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]: ...

    def kept_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:
        """Bytes that a layer keeps of a character for the backward pass, gradients included, as an estimate.

        ``dtype`` is that of the products; ``symbols`` the size of the vocabulary if the layer reads ids, else 0.
        """


class StackRunner(Protocol):
    """Runs all layers of a stack, each on the output of the one below, as one call."""

    @property
    def stack_devices(self) -> tuple[str, ...]:
        """The types of device on which it does."""

    def arrange_stack(self, cell: Cell, layers: Sequence[Weights]) -> None:
        """Move the weights, whose values stay, to where one call wants them."""

    def run_stack(
        self, cell: Cell, layers: Sequence[Weights], x: Tensor, state: State, flat: bool = False
    ) -> tuple[Tensor, State]:
        """As ``Executor.run``, with each part of the state [L, B, H]; ``flat``: the weights are arranged for it."""


def eager_saved_bytes(cell: Cell, hidden_size: int) -> int:
    """``kept_bytes`` in float32: the gates and their gradients, and three vectors for each part of the state."""
    return hidden_size * 4 * (2 * len(cell.gates) + 3 * len(cell.state))


def needs_grad(weights: Weights, x: Tensor, state: State) -> bool:
    """Whether anything that goes into a layer asks for a gradient."""
    fixed = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    leaves = (x, *fixed, *weights.parameters.values(), *state)
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in leaves)


def is_ids(x: Tensor) -> bool:
    """Whether x holds ids of one-hot vectors."""
    return not x.is_floating_point()


def one_hot(ids: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """The vectors that the ids stand for, [..., size]; zero for the id ``size``."""
    return F.one_hot(ids, size + 1)[..., :size].to(dtype)


def input_side(x: Tensor, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """``W x + b`` for all steps: [T, B, GH]; for ids by look-up in the table W^T."""
    if not is_ids(x):
        return F.linear(x, weight_ih, bias)
    table = torch.cat([weight_ih.t(), weight_ih.new_zeros(1, weight_ih.shape[0])])
    return F.embedding(x, table if bias is None else table + bias)


def matmul_dtype(weight: Tensor) -> torch.dtype:
    """The type in which products with a weight are made: that of autocast where it is on, else the weight's own."""
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(device)
    return weight.dtype
