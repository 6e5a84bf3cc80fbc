"""How characters become the input of the first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlstm.config import ModelConfig
from charlstm.model.convolution import Convolution
from charlstm.model.stack import Project


class OneHot(nn.Module):
    """The one-hot vector of a character; its product with the input weights is a look-up of one of their columns."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.output_size, self.window = vocabulary_size, 0

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
"""All take ids [window + T, B], where ``window`` characters come before the first one that has an output."""


def make_front_end(config: ModelConfig, vocabulary_size: int) -> FrontEnd:
    """The front end that a configuration asks for."""
    if config.front_end == "one_hot":
        return OneHot(vocabulary_size)
    assert config.embedding_size is not None
    if config.front_end == "embedding":
        return Embedding(vocabulary_size, config.embedding_size)
    return Convolution(
        vocabulary_size, config.embedding_size, config.kernel_sizes, config.filters, highway=config.highway
    )
