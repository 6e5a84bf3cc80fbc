"""Causal convolutions over embedded characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.config import ModelConfig
from charlstm.executors import State
from charlstm.executors.buffers import affine
from charlstm.model.front_end import ConvolutionWeights, FrontEnd, IncrementalFrontEnd
from charlstm.model.highway import Highway
from charlstm.model.initialization import normal_


class Convolution(FrontEnd):
    """Convolutions of several widths over the embedded characters (Kim, Jernite, Sontag & Rush 2016), made causal.

    With e_t the embedding [E] of the character at t, zero for the id V (no character), the filters of width w compute

        x_t = tanh(b + sum over k = 0 .. w-1 of K_k e_(t-k)),

    concatenated over the widths, narrowest first: F features for each width. With ``highway``, a
    :class:`~charlstm.model.highway.Highway` layer follows. (Kim et al. pool over the characters of a word; here every
    character has an output, which depends on no later one.)

    ``kernel`` holds K_0 of all widths, [n F, E], then K_1 of the widths above 1, and so on; ``embedding`` is [V, E],
    ``bias`` [n F]. A filter of width w is initialized uniform in +-1/sqrt(E w), as in torch.nn.Conv1d.

    A convolution over embeddings is a sum of table rows, one table K_k E^T for each k. If a batch holds at least as
    many characters as the vocabulary, the tables are computed once and looked up; otherwise the embeddings of each
    window are multiplied by all K_k at once.
    """

    outputs_ids = False
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
        self.embedding = nn.Parameter(normal_(torch.empty(vocabulary_size, embedding_size)))
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
        """x [T, B, n F] for the last T of the characters ids [window + T, B], and no projection.

        Under ``torch.autocast`` the matmuls run in its dtype; x has the dtype of the parameters.
        """
        return self._convolve(ids, self.padded_embedding()), None

    def scaled(self, ids: Tensor, scale: float) -> tuple[Tensor, None]:
        return self._convolve(ids, scale * self.padded_embedding()), None

    def _convolve(self, ids: Tensor, embedding: Tensor) -> Tensor:
        """x from the embeddings of all symbols and of "no character", [V + 1, E]."""
        if ids.numel() < len(self.embedding):
            windows = F.embedding(ids.unfold(0, self.window + 1, 1), embedding).flatten(-2)
            return self.activate(F.linear(windows, self.flat_kernel(), self.bias).to(self.bias.dtype))
        total: Tensor = self.bias
        steps = len(ids) - self.window
        for offset, kernel in enumerate(torch.split(self.kernel, self._rows)):
            table = F.linear(embedding, kernel).to(self.bias.dtype)
            first = self.window - offset
            total = total + F.embedding(ids[first : first + steps], F.pad(table, (self.output_size - len(kernel), 0)))
        return self.activate(total)

    def padded_embedding(self) -> Tensor:
        """The embeddings of all symbols and, in the last row, zeros for "no character": [V + 1, E]."""
        return F.pad(self.embedding, (0, 0, 0, 1))

    def flat_kernel(self) -> Tensor:
        """All K_k, zero-padded and concatenated for the embeddings of a window, oldest character first:
        [n F, (window + 1) E]."""
        parts = reversed(torch.split(self.kernel, self._rows))
        return torch.cat([F.pad(part, (0, 0, self.output_size - len(part), 0)) for part in parts], 1)

    def activate(self, pre_activation: Tensor) -> Tensor:
        """x from the sum over the filters, bias included."""
        x = pre_activation.tanh()
        return x if self.highway is None else self.highway(x)

    def initial_state(self, batch_size: int) -> State:
        return (self.bias.new_zeros(self.window, batch_size, 1),)

    def with_window(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        (encoded,) = state
        ids = torch.cat([self.decode_window(encoded), ids])
        return ids, (self.encode_window(ids),)

    def encode_window(self, ids: Tensor) -> Tensor:
        """The last characters of ids [>= window, B] as a part of the state, float [window, B, 1]: V - id, so that zeros
        mean "no character". Integers up to 2^24 are exact in float32."""
        return (self.vocabulary_size - ids[len(ids) - self.window :]).to(self.bias.dtype)[..., None]

    def decode_window(self, encoded: Tensor) -> Tensor:
        """The ids [window, B] that :meth:`encode_window` encoded."""
        return self.vocabulary_size - encoded[..., 0].to(torch.int64)

    def incremental(self, batch_size: int, dtype: torch.dtype) -> IncrementalFrontEnd:
        return IncrementalConvolution(self, batch_size, dtype)

    def convolution_weights(self) -> ConvolutionWeights:
        highway = None if self.highway is None else (self.highway.weight, self.highway.bias)
        return ConvolutionWeights(self.padded_embedding(), self.flat_kernel(), self.bias, highway)

    def input_matmul_rows(self, characters: int) -> int:
        return characters

    def saved_bytes(self) -> int:
        """The output and, with a highway layer, the outputs of its two matmuls, each with its gradient."""
        return 2 * 4 * self.output_size * (1 if self.highway is None else 3)


class IncrementalConvolution:
    """A convolution over B texts, one character at a time, with the weights at construction."""

    def __init__(self, convolution: Convolution, batch_size: int, dtype: torch.dtype) -> None:
        self._convolution = convolution
        self._embedding = convolution.padded_embedding()
        self._kernel = convolution.flat_kernel().to(dtype)
        self._pre_activation = convolution.bias.new_empty(batch_size, len(self._kernel))
        shape = (convolution.window + 1, batch_size)
        self._ids = torch.full(shape, convolution.vocabulary_size, device=convolution.bias.device)

    @property
    def state(self) -> State:
        """The latest characters, as :meth:`Convolution.encode_window` returns them."""
        return (self._convolution.encode_window(self._ids),)

    @state.setter
    def state(self, state: State) -> None:
        (encoded,) = state
        self._ids[1:] = self._convolution.decode_window(encoded)

    def __call__(self, ids: Tensor) -> Tensor:
        self._ids.copy_(torch.cat([self._ids[1:], ids[None]]))
        windows = self._embedding[self._ids.t()].flatten(1)
        affine(self._pre_activation, windows, self._kernel, self._convolution.bias)
        return self._convolution.activate(self._pre_activation)
