"""Front ends: how characters become the input of the first recurrent layer."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor, nn

from charlstm.config import ModelConfig
from charlstm.config.front_ends import FRONT_ENDS
from charlstm.executors import State
from charlstm.model.stack import Project


@dataclass(frozen=True)
class Convolved:
    """x = tanh(K e + b) of the vectors e of the W latest characters, side by side, the oldest first.

    vectors [V + 1, E], the last one zero; kernel K [N, W E]; bias [N]; highway: the weight [2 N, N] and the bias [2 N]
    of a highway layer that follows, its gate first.
    """

    vectors: Tensor
    kernel: Tensor
    bias: Tensor
    highway: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return self.kernel.shape[1] // self.vectors.shape[1]


class FrontEnd(nn.Module):
    """The interface of all front ends, with the defaults of those that give ids and have no state.

    ``forward`` takes ids [window + T, B], 0 to V - 1, or V for "no character", and returns the input of a
    RecurrentStack for the last T of them, ids or vectors [T, B, output_size], with the projection that ids need.

    output_size    the size of the vectors that the first layer reads
    window         how many earlier characters an output depends on, beside its own
    gives_ids      whether the first layer can read ids, which stand for columns of its (projected) input weights
    per_direction  whether each direction of a bidirectional model has one of its own, not a shared one
    input_bound    the first layer's input weights start uniform in plus or minus this; None: as in other layers
    """

    window: int = 0
    gives_ids: bool = True
    per_direction: bool = False
    input_bound: float | None = None

    def __init__(self, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> FrontEnd:
        """The front end that a configuration asks for."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The input of a RecurrentStack and what it has to do with its input weights."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:  # noqa: ARG002
        """What this front end adds to a model's state: nothing, or one part that is zero at the beginning of a text."""
        return ()

    def with_window(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """ids [T, B] with the characters of its state in front, [window + T, B], and the state after them."""
        return ids, state

    def one_hot_weights(self, weight_ih: Tensor) -> Tensor:
        """The first layer's input weights for one-hot vectors, [GH, V]; as they are if it reads vectors."""
        return weight_ih

    def reader(self, batch_size: int, dtype: torch.dtype) -> Reader | None:  # noqa: ARG002
        """Makes the vectors of one character of each of B texts at a time, products in ``dtype``; None if it gives
        ids."""
        return None

    def convolved(self) -> Convolved | None:
        """The same for the C++ decoder; None if it gives ids."""
        return None

    def multiplied_rows(self, characters: int) -> int:
        """How many vectors are multiplied by the first layer's input weights for so many characters."""
        raise NotImplementedError

    def kept_bytes(self) -> int:
        """Bytes that are kept of a character for the backward pass, gradients included."""
        return 0


class Reader(Protocol):
    """A front end one character of each of B texts at a time. ``state`` is its part of the model's state."""

    state: State

    def __call__(self, ids: Tensor) -> Tensor:
        """The vectors [B, output_size] of the characters ids [B]; they hold until the next call."""


class OneHot(FrontEnd):
    """The one-hot vector of a character; its product with the input weights is a look-up of one of their columns.

    A one-hot vector has a single one: with input weights in +-1 it moves the gates as much as H numbers of unit
    variance would with weights in +-1/sqrt(H).
    """

    input_bound = 1.0

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> OneHot:  # noqa: ARG003
        return cls(vocabulary_size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The ids, with nothing to be done with the input weights."""
        return ids, None

    def multiplied_rows(self, characters: int) -> int:  # noqa: ARG002
        return 0


class Embedding(FrontEnd):
    """A learnt vector for each character; the id V (no character) is the zero vector.

    Where a batch holds at least as many characters as the vocabulary, ``W E`` is made once, for all symbols, and its
    columns are looked up; else the vectors are looked up and multiplied by W.
    """

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        super().__init__(embedding_size)
        self.weight = nn.Parameter(torch.randn(vocabulary_size, embedding_size))

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> Embedding:
        assert config.embedding_size is not None
        return cls(vocabulary_size, config.embedding_size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The ids with the projection of the input weights, or the vectors with none."""
        if ids.numel() >= len(self.weight):
            return ids, self.one_hot_weights
        table = torch.cat([self.weight, self.weight.new_zeros(1, self.output_size)])
        return nn.functional.embedding(ids, table), None

    def one_hot_weights(self, weight_ih: Tensor) -> Tensor:
        """W E^T: [GH, V]."""
        return (self.weight @ weight_ih.t()).t()

    def multiplied_rows(self, characters: int) -> int:
        return min(characters, len(self.weight))


def make_front_end(config: ModelConfig, vocabulary_size: int) -> FrontEnd:
    """The front end that a configuration asks for."""
    module, _, name = FRONT_ENDS[config.front_end].implementation.partition(":")
    made: FrontEnd = getattr(import_module(module), name).from_config(config, vocabulary_size)
    return made
