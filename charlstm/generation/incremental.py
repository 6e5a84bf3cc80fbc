"""A language model that is run one character at a time, for sampling."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State, Weights, permits
from charlstm.executors.base import matmul_dtype
from charlstm.executors.buffers import affine
from charlstm.executors.cpp import Cpp
from charlstm.executors.step import Step
from charlstm.generation.cpp_decoder import CppDecoder, decoder_library
from charlstm.model.language_model import LanguageModel


def make_cpp_decoder(model: LanguageModel, batch_size: int = 1) -> CppDecoder | None:
    """A C++ decoder with the current weights of the model; None if the executor is another one or does not support it.

    Under ``torch.autocast`` its matmuls run in the autocast dtype.

    Raises UserError for a bidirectional model, which cannot predict the next character.
    """
    stack, weights = model.recurrent, _weights(model)
    first, ids = weights[0], torch.zeros(1, 1, dtype=torch.int64)
    executor = Cpp()
    if not permits(stack.executor, executor) or executor.refuses(stack.cell, first, ids):
        return None
    if isinstance(decoder_library(matmul_dtype(first.weight_hh)), str):
        return None
    with torch.no_grad():
        return CppDecoder(
            stack.cell,
            weights,
            model.head.weight,
            model.head.bias,
            batch_size,
            matmul_dtype(first.weight_hh),
            residual=stack.residual,
            sum_outputs=stack.sum_outputs,
            convolution=model.front_end.convolution_weights(),
        )


@torch.no_grad()
def _weights(model: LanguageModel) -> list[Weights]:
    """The weights of all layers; those of the first are for one-hot vectors if the front end outputs ids."""
    if model.bidirectional:
        raise UserError(
            "a bidirectional model needs the text on both sides of a character: it cannot continue a text, only fill "
            "gaps (--infill); to continue texts, train with direction: forward (or backward)"
        )
    first, *above = (model.recurrent.weights(f"_l{layer}") for layer in range(model.recurrent.num_layers))
    return [replace(first, weight_ih=model.front_end.one_hot_weights(first.weight_ih)), *above]


class IncrementalModel:
    """Maps one character of each of B texts to the logits of the next, at constant cost per character.

    It uses the weights at construction and holds its state; the model is not changed. If constructed under
    ``torch.autocast``, matmuls run in the autocast dtype. ``logits`` [B, V] and all other tensors of a step have fixed
    addresses, so that a step can be captured in a CUDA graph.

    Raises UserError for a bidirectional model, which cannot predict the next character.
    """

    def __init__(self, model: LanguageModel, batch_size: int = 1) -> None:
        dtype = matmul_dtype(model.head.weight)
        self.device = model.head.weight.device
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            weights = _weights(model)
            first = weights[0].weight_ih
            self._cell = model.recurrent.cell
            self._layers = [Step(self._cell, w, batch_size, dtype) for w in weights]
            self._residual, self._sum_outputs = model.recurrent.residual, model.recurrent.sum_outputs
            self._front_end = model.front_end.incremental(batch_size, dtype)
            if self._front_end is None:
                self._table = self._layers[0].table(first).contiguous()
            self._biases = [layer.bias() for layer in self._layers]
            self._input_weights = [w.weight_ih.to(dtype) for w in weights]
            self._head = (model.head.bias, model.head.weight.to(dtype))
        self.logits = first.new_zeros(batch_size, model.vocabulary_size)

    @property
    def state(self) -> State:
        """The state of all layers, each part [L, B, H], and of the front end, as in LanguageModel."""
        layers = tuple(torch.stack(part) for part in zip(*(layer.state for layer in self._layers), strict=True))
        return layers if self._front_end is None else (*layers, *self._front_end.state)

    @state.setter
    def state(self, state: State) -> None:
        parts = len(self._cell.state)
        if self._front_end is not None:
            self._front_end.state = state[parts:]
        for number, layer in enumerate(self._layers):
            layer.state = tuple(part[number] for part in state[:parts])

    def __call__(self, ids: Tensor) -> Tensor:
        """The logits [B, V] of the characters after ids [B], valid until the next call."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if self._front_end is None:
                torch.index_select(self._table, 0, ids, out=self._layers[0].values)
            else:
                self._project_input(0, self._front_end(ids))
            h = total = self._layers[0]()
            for number in range(1, len(self._layers)):
                self._project_input(number, h)
                y = self._layers[number]()
                h = h + y if self._residual else y
                total = total + y if self._sum_outputs else h
            bias, weight = self._head
            affine(self.logits, total, weight, bias)
        return self.logits

    def _project_input(self, number: int, x: Tensor) -> None:
        """Compute the input side of a layer from its input."""
        affine(self._layers[number].values, x, self._input_weights[number], self._biases[number])
