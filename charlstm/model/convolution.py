"""Causal convolutions over characters: what a character is, as seen with the characters just before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.config import ModelConfig
from charlstm.executors import State
from charlstm.executors.buffers import affine
from charlstm.model.front_end import Convolved, FrontEnd, Reader
from charlstm.model.highway import Highway


class Convolution(FrontEnd):
    """Convolutions of several widths over the embedded characters (Kim, Jernite, Sontag & Rush 2016), made causal.

    With e_t the vector of E numbers of the character at t, zero for the id V (no character), the filters of width w
    give

        x_t = tanh(b + sum over k = 0 .. w-1 of K_k e_(t-k)),

    those of all widths stand side by side: F numbers for each width, the narrowest first. With ``highway``, a
    :class:`~charlstm.model.highway.Highway` layer follows. (Kim et al. pool over the characters of a word; here every
    character has an output, and it depends on no later one.)

    ``kernel`` holds K_0 of all widths, [n F, E], then K_1 of the widths above 1, and so on; ``embedding`` is [V, E],
    ``bias`` [n F]. A filter of width w starts uniform in +-1/sqrt(E w), as in torch.nn.Conv1d.

    A convolution over an embedding is a sum of rows of tables, K_k times every vector, one for each k. Where a batch
    holds at least as many characters as the vocabulary, the tables are made and looked up; else the vectors of every
    window are multiplied by all K_k at once.
    """

    gives_ids = False
    per_direction = True

    def __init__(
        self, vocabulary_size: int, embedding_size: int, kernel_sizes: Sequence[int], filters: int, highway: bool
    ) -> None:
        widths = sorted(kernel_sizes)
        super().__init__(filters * len(widths))
        self.vocabulary_size = vocabulary_size
        self.window = widths[-1] - 1
        self._rows = [filters * sum(w > k for w in widths) for k in range(widths[-1])]
        bounds = [1 / math.sqrt(embedding_size * w) for k in range(widths[-1]) for w in widths if w > k]
        self.embedding = nn.Parameter(torch.randn(vocabulary_size, embedding_size))
        scale = torch.tensor(bounds).repeat_interleave(filters)[:, None]
        self.kernel = nn.Parameter(torch.empty(sum(self._rows), embedding_size).uniform_(-1, 1) * scale)
        self.bias = nn.Parameter(torch.zeros(self.output_size))
        self.highway = Highway(self.output_size) if highway else None

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> Convolution:
        assert config.embedding_size is not None
        sizes = (config.embedding_size, config.kernel_sizes, config.filters)
        return cls(vocabulary_size, *sizes, highway=config.highway)

    def forward(self, ids: Tensor) -> tuple[Tensor, None]:
        """x [T, B, n F] of the characters ids [window + T, B] but the first ``window``, and no projection.

        Under ``torch.autocast`` the products are made in its type; x has the type of the parameters.
        """
        if ids.numel() < len(self.embedding):
            windows = F.embedding(ids.unfold(0, self.window + 1, 1), self.vectors()).flatten(-2)
            return self.finish(F.linear(windows, self.whole_kernel(), self.bias).to(self.bias.dtype)), None
        total: Tensor = self.bias
        steps, vectors = len(ids) - self.window, self.vectors()
        for offset, kernel in enumerate(torch.split(self.kernel, self._rows)):
            table = F.linear(vectors, kernel).to(self.bias.dtype)
            first = self.window - offset
            total = total + F.embedding(ids[first : first + steps], F.pad(table, (self.output_size - len(kernel), 0)))
        return self.finish(total), None

    def vectors(self) -> Tensor:
        """The vector of every symbol and, last, of no character: [V + 1, E]."""
        return F.pad(self.embedding, (0, 0, 0, 1))

    def whole_kernel(self) -> Tensor:
        """All K_k, filled up with zeros, side by side, for the vectors of a window from the oldest character on:
        [n F, (window + 1) E]."""
        parts = reversed(torch.split(self.kernel, self._rows))
        return torch.cat([F.pad(part, (0, 0, self.output_size - len(part), 0)) for part in parts], 1)

    def finish(self, total: Tensor) -> Tensor:
        """x from what the filters add up to, their bias included."""
        x = total.tanh()
        return x if self.highway is None else self.highway(x)

    def initial_state(self, batch_size: int) -> State:
        return (self.bias.new_zeros(self.window, batch_size, 1),)

    def with_window(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        (part,) = state
        ids = torch.cat([self.recall(part), ids])
        return ids, (self.remember(ids),)

    def remember(self, ids: Tensor) -> Tensor:
        """The last characters of ids [window or more, B] as a part of a state, float [window, B, 1]: V - id, so that
        zeros are no characters. Whole numbers up to 2^24 are exact in float32."""
        return (self.vocabulary_size - ids[len(ids) - self.window :]).to(self.bias.dtype)[..., None]

    def recall(self, part: Tensor) -> Tensor:
        """The characters that :meth:`remember` made the part of: [window, B]."""
        return self.vocabulary_size - part[..., 0].to(torch.int64)

    def reader(self, batch_size: int, dtype: torch.dtype) -> Reader:
        return WindowReader(self, batch_size, dtype)

    def convolved(self) -> Convolved:
        highway = None if self.highway is None else (self.highway.weight, self.highway.bias)
        return Convolved(self.vectors(), self.whole_kernel(), self.bias, highway)

    def multiplied_rows(self, characters: int) -> int:
        return characters

    def kept_bytes(self) -> int:
        """The output and, with a highway, that of its two products, each with its gradient."""
        return 2 * 4 * self.output_size * (1 if self.highway is None else 3)


class WindowReader:
    """A convolution one character of each of B texts at a time, in the weights as they are now."""

    def __init__(self, convolution: Convolution, batch_size: int, dtype: torch.dtype) -> None:
        self._convolution = convolution
        self._vectors = convolution.vectors()
        self._filters = convolution.whole_kernel().to(dtype)
        self._total = convolution.bias.new_empty(batch_size, len(self._filters))
        shape = (convolution.window + 1, batch_size)
        self._ids = torch.full(shape, convolution.vocabulary_size, device=convolution.bias.device)

    @property
    def state(self) -> State:
        """The latest characters, as :meth:`Convolution.remember` gives them."""
        return (self._convolution.remember(self._ids),)

    @state.setter
    def state(self, state: State) -> None:
        (part,) = state
        self._ids[1:] = self._convolution.recall(part)

    def __call__(self, ids: Tensor) -> Tensor:
        self._ids.copy_(torch.cat([self._ids[1:], ids[None]]))
        windows = self._vectors[self._ids.t()].flatten(1)
        affine(self._total, windows, self._filters, self._convolution.bias)
        return self._convolution.finish(self._total)
