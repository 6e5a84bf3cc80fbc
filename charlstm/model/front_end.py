"""How characters become the input of the first layer."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn

from charlstm.config import ModelConfig
from charlstm.config.front_ends import FRONT_ENDS
from charlstm.model.convolution import Convolution
from charlstm.model.stack import Project


class OneHot(nn.Module):
    """The one-hot vector of a character; its product with the input weights is a look-up of one of their columns."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.output_size, self.window = vocabulary_size, 0

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> OneHot:  # noqa: ARG003
        """The front end that a configuration asks for."""
        return cls(vocabulary_size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The input of a RecurrentStack and what it has to do with its input weights."""
        return ids, None


class Embedding(nn.Module):
    """A learnt vector for each character; the id V (no character) is the zero vector.

    Where a batch holds at least as many characters as the vocabulary, ``W E`` is made once, for all symbols, and its
    columns are looked up; else the vectors are looked up and multiplied by W.
    """

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        super().__init__()
        self.output_size, self.window = embedding_size, 0
        self.weight = nn.Parameter(torch.randn(vocabulary_size, embedding_size))

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> Embedding:
        """The front end that a configuration asks for."""
        assert config.embedding_size is not None
        return cls(vocabulary_size, config.embedding_size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        """The input of a RecurrentStack and what it has to do with its input weights."""
        if ids.numel() >= len(self.weight):
            return ids, self._project
        table = torch.cat([self.weight, self.weight.new_zeros(1, self.output_size)])
        return nn.functional.embedding(ids, table), None

    def _project(self, weight_ih: Tensor) -> Tensor:
        """W E^T: [GH, V]."""
        return (self.weight @ weight_ih.t()).t()


FrontEnd = OneHot | Embedding | Convolution
"""All take ids [window + T, B], where ``window`` characters come before the first one that has an output, and give
``(x, project)``: what a RecurrentStack reads, ids [T, B] or [T, B, ``output_size``], and, for ids, what turns input
weights into those that fit them, or None."""


def make_front_end(config: ModelConfig, vocabulary_size: int) -> FrontEnd:
    """The front end that a configuration asks for."""
    module, _, name = FRONT_ENDS[config.front_end].implementation.partition(":")
    made: FrontEnd = getattr(import_module(module), name).from_config(config, vocabulary_size)
    return made
