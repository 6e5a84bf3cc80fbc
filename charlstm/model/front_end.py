"""Front ends: they turn character ids into the input of the first recurrent layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor, nn

from charlstm.config import ModelConfig
from charlstm.config.front_ends import FRONT_ENDS
from charlstm.executors import State
from charlstm.model.initialization import normal_
from charlstm.model.stack import Project


@dataclass(frozen=True)
class ConvolutionWeights:
    """The weights of x = tanh(K e + b), with e the concatenated embeddings of the W latest characters, oldest first.

    vectors [V + 1, E], the last row zero; kernel K [N, W E]; bias [N]; highway: weight [2 N, N] and bias [2 N] of a
    highway layer that follows, the gate first.
    """

    vectors: Tensor
    kernel: Tensor
    bias: Tensor
    highway: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return self.kernel.shape[1] // self.vectors.shape[1]


class FrontEnd(nn.Module):
    """The interface of all front ends, with the defaults for front ends that output ids and have no state.

    ``forward`` takes ids [window + T, B], 0 to V - 1, or V for "no character", and returns the input of a
    RecurrentStack for the last T of them, ids or vectors [T, B, output_size], with the projection that ids need.

    output_size    the input_size of the first layer
    window         number of earlier characters that an output depends on, besides the current one
    outputs_ids    whether the output is ids, which index columns of the first layer's (projected) input weights
    per_direction  whether each direction of a bidirectional model has a separate front end
    input_bound    the first layer's input weights are initialized uniform in +-input_bound; None: as in other layers
    """

    window: int = 0
    outputs_ids: bool = True
    per_direction: bool = False
    input_bound: float | None = None

    def __init__(self, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> FrontEnd:
        """Build the configured front end."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The input of a RecurrentStack and the projection of its input weights, if any."""
        raise NotImplementedError

    def scaled(self, ids: Tensor, scale: float) -> tuple[Tensor, Project | None]:
        """As ``forward``, with the vector of every symbol multiplied by ``scale``, for dropout of symbols; here for a
        front end whose output is linear in these vectors."""
        x, project = self(ids)
        if x.is_floating_point():
            return scale * x, project
        return x, lambda weight_ih: scale * (weight_ih if project is None else project(weight_ih))

    def initial_state(self, batch_size: int) -> State:  # noqa: ARG002
        """What this front end adds to the state of a model: nothing, or one part, zero at the beginning of a text."""
        return ()

    def tie(self, weight: nn.Parameter) -> None:
        """Use the head's matrix [V, E] as the vectors of the symbols; for a front end that has such vectors."""
        raise NotImplementedError

    def with_window(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """ids [T, B] with the characters of the state prepended, [window + T, B], and the state after them."""
        return ids, state

    def one_hot_weights(self, weight_ih: Tensor) -> Tensor:
        """The first layer's input weights for one-hot vectors, [GH, V]; unchanged if its input is vectors."""
        return weight_ih

    def symbol_vectors(self) -> Tensor | None:
        """The vector of each symbol, [V, output_size], if that of the latest character is all that the first layer
        reads; else None."""
        return None

    def incremental(self, batch_size: int, dtype: torch.dtype) -> IncrementalFrontEnd | None:  # noqa: ARG002
        """This front end one character of each of B texts at a time, matmuls in ``dtype``; None if it outputs ids."""
        return None

    def convolution_weights(self) -> ConvolutionWeights | None:
        """The weights for the C++ decoder; None if the front end outputs ids."""
        return None

    def input_matmul_rows(self, characters: int) -> int:
        """Number of vectors multiplied by the first layer's input weights for a batch of ``characters``."""
        raise NotImplementedError

    def saved_bytes(self) -> int:
        """Bytes per character saved for the backward pass, gradients included."""
        return 0


class IncrementalFrontEnd(Protocol):
    """A front end over B texts, one character at a time. ``state`` is its part of the model's state."""

    state: State

    def __call__(self, ids: Tensor) -> Tensor:
        """The vectors [B, output_size] for the characters ids [B], valid until the next call."""


class OneHot(FrontEnd):
    """One-hot vectors; multiplying one by the input weights is a look-up of a column.

    A one-hot vector has a single nonzero element: with input weights in +-1 the gates get inputs of the same variance
    as from H inputs of unit variance with weights in +-1/sqrt(H).
    """

    input_bound = 1.0

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> OneHot:  # noqa: ARG003
        return cls(vocabulary_size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The ids, and no projection."""
        return ids, None

    def input_matmul_rows(self, characters: int) -> int:  # noqa: ARG002
        return 0


class Embedding(FrontEnd):
    """A learned vector for each character; the id V (no character) is the zero vector.

    If a batch holds at least as many characters as the vocabulary, W E^T is computed once for all symbols and its
    columns are looked up; otherwise the vectors are looked up and multiplied by W.
    """

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        super().__init__(embedding_size)
        self.weight = nn.Parameter(normal_(torch.empty(vocabulary_size, embedding_size)))

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> Embedding:
        assert config.embedding_size is not None
        return cls(vocabulary_size, config.embedding_size)

    def tie(self, weight: nn.Parameter) -> None:
        """Use the head's matrix [V, E], initialized uniform in +-1/sqrt(E), as the vectors. With input weights in
        +-sqrt(3), the gates get inputs of the same variance as from vectors that are initialized from N(0, 1)."""
        self.weight, self.input_bound = weight, math.sqrt(3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The ids with the projection of the input weights, or the vectors with none."""
        if ids.numel() >= len(self.weight):
            return ids, self.one_hot_weights
        table = torch.cat([self.weight, self.weight.new_zeros(1, self.output_size)])
        return nn.functional.embedding(ids, table), None

    def one_hot_weights(self, weight_ih: Tensor) -> Tensor:
        """W E^T: [GH, V]."""
        return (self.weight @ weight_ih.t()).t()

    def symbol_vectors(self) -> Tensor:
        return self.weight

    def input_matmul_rows(self, characters: int) -> int:
        return min(characters, len(self.weight))


def make_front_end(config: ModelConfig, vocabulary_size: int) -> FrontEnd:
    """Build the configured front end."""
    module, _, name = FRONT_ENDS[config.front_end].implementation.partition(":")
    front_end: FrontEnd = getattr(import_module(module), name).from_config(config, vocabulary_size)
    return front_end
