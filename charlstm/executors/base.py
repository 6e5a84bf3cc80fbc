"""The executor interface, and what all executors use: the weights of a layer and the input side."""

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

    weight_ih [GH, I], weight_hh [GH, H], bias_ih and bias_hh [GH] or None; parameters: name -> [nH], the per-unit
    parameters that the cell declares, or [T, B, nH] for those of each step.
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
    """Runs a cell along a sequence.

    ``run`` is pure: (x, state) -> (y, new state), time-major. x is [T, B, I], or ids [T, B] of one-hot vectors, of any
    integer dtype, where the id I is the zero vector. Each part of the state is [B, H]; y is [T, B, H]. Inputs that do
    not require a gradient cost nothing in the backward pass; if none does, nothing is saved for it. Under
    ``torch.autocast`` matmuls use the autocast dtype; states keep the weights' dtype, and y has either of the two.
    """

    @property
    def name(self) -> str:
        """Its name in a configuration."""

    @property
    def devices(self) -> tuple[str, ...] | None:
        """The device types that it supports, such as ``cuda``; None: all."""

    @property
    def automatic(self) -> bool:
        """Whether ``auto`` may select it."""

    @property
    def stacks(self) -> StackRunner | None:
        """What runs all layers of a stack in one call; None if it runs layer by layer."""

    def refuses(self, cell: Cell, weights: Weights, x: Tensor) -> str | None:
        """Why this executor cannot run the cell, in a few words; None if it can."""

    def run(self, cell: Cell, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]: ...

    def saved_bytes(self, cell: Cell, hidden_size: int, dtype: torch.dtype, symbols: int = 0) -> int:
        """Estimated bytes that a layer saves per character for the backward pass, including gradients.

        ``dtype`` is the compute dtype; ``symbols`` is the vocabulary size if the layer reads ids, else 0.
        """


class StackRunner(Protocol):
    """Runs all layers of a stack, each on the output of the one below, in one call."""

    @property
    def stack_devices(self) -> tuple[str, ...]:
        """The device types that it supports."""

    def arrange_stack(self, cell: Cell, layers: Sequence[Weights]) -> None:
        """Move the weights, without changing their values, into the memory layout that ``run_stack`` needs."""

    def run_stack(
        self, cell: Cell, layers: Sequence[Weights], x: Tensor, state: State, flat: bool = False
    ) -> tuple[Tensor, State]:
        """As ``Executor.run``, with each part of the state [L, B, H]; ``flat``: ``arrange_stack`` was called."""


def eager_saved_bytes(cell: Cell, hidden_size: int) -> int:
    """``saved_bytes`` in float32: the gates and their gradients, and three vectors [H] for each part of the state."""
    return hidden_size * 4 * (2 * len(cell.gates) + 3 * len(cell.state))


def needs_grad(weights: Weights, x: Tensor, state: State) -> bool:
    """Whether grad mode is on and any input of a layer requires a gradient."""
    matrices_and_biases = (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh)
    leaves = (x, *matrices_and_biases, *weights.parameters.values(), *state)
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in leaves)


def is_ids(x: Tensor) -> bool:
    """Whether x holds ids of one-hot vectors."""
    return not x.is_floating_point()


def one_hot(ids: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """The one-hot vectors of the ids, [..., size]; zero for the id ``size``."""
    return F.one_hot(ids.long(), size + 1)[..., :size].to(dtype)


def input_side(x: Tensor, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """``W x + b`` for all steps: [T, B, GH]; for ids by lookup in the table W^T."""
    if not is_ids(x):
        return F.linear(x, weight_ih, bias)
    table = torch.cat([weight_ih.t(), weight_ih.new_zeros(1, weight_ih.shape[0])])
    return F.embedding(x.long(), table if bias is None else table + bias)


def matmul_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of matmuls with a weight: the autocast dtype if autocast is enabled, else the weight's dtype."""
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype == torch.float32:
        return torch.get_autocast_dtype(device)
    return weight.dtype
