"""A language model one character at a time: what sampling runs, natively where it can."""

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
    """The model as it is now, as a C++ decoder; None where the executor requested is another, or refuses.

    Under ``torch.autocast`` its products are made in the autocast type.

    Raises UserError for a bidirectional model, which has no next character.
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
            convolved=model.front_end.convolved(),
        )


@torch.no_grad()
def _weights(model: LanguageModel) -> list[Weights]:
    """The weights of all layers; those of the first are for one-hot vectors if the front end gives ids."""
    if model.bidirectional:
        raise UserError(
            "a bidirectional model sees both sides of a character and cannot write on, but fills gaps: --infill; "
            "train with direction: forward (or backward) to go on from a text"
        )
    first, *above = (model.recurrent.weights(f"_l{layer}") for layer in range(model.recurrent.num_layers))
    return [replace(first, weight_ih=model.front_end.one_hot_weights(first.weight_ih)), *above]


class IncrementalModel:
    """Reads one character of each of B texts at a time and gives the logits of the next: constant cost a character.

    It works on the weights as they are now and holds a state of its own; the model's training is not touched. Under
    ``torch.autocast``, as it is when the object is made, products are made in the autocast type. ``logits`` [B, V] and
    all else that a step reads or writes stay where they are, so that a step can be recorded.

    Raises UserError for a bidirectional model, which has no next character.
    """

    def __init__(self, model: LanguageModel, batch_size: int = 1) -> None:
        dtype = matmul_dtype(model.head.weight)
        self.device = model.head.weight.device
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            weights = _weights(model)
            first = weights[0].weight_ih
            self._cell = model.recurrent.cell
            self._layers = [Step(self._cell, w, batch_size, dtype) for w in weights]
            self._residual = model.recurrent.residual
            self._reader = model.front_end.reader(batch_size, dtype)
            if self._reader is None:
                self._table = self._layers[0].table(first).contiguous()
            self._biases = [layer.bias() for layer in self._layers]
            self._input_weights = [w.weight_ih.to(dtype) for w in weights]
            self._head = (model.head.bias, model.head.weight.to(dtype))
        self.logits = first.new_zeros(batch_size, model.vocabulary_size)

    @property
    def state(self) -> State:
        """The state of all layers, each part [L, B, H], and of the front end, as LanguageModel has it."""
        layers = tuple(torch.stack(part) for part in zip(*(layer.state for layer in self._layers), strict=True))
        return layers if self._reader is None else (*layers, *self._reader.state)

    @state.setter
    def state(self, state: State) -> None:
        parts = len(self._cell.state)
        if self._reader is not None:
            self._reader.state = state[parts:]
        for number, layer in enumerate(self._layers):
            layer.state = tuple(part[number] for part in state[:parts])

    def __call__(self, ids: Tensor) -> Tensor:
        """The logits [B, V] of what follows the characters ids [B]; they hold until the next call."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if self._reader is None:
                torch.index_select(self._table, 0, ids, out=self._layers[0].values)
            else:
                self._fill(0, self._reader(ids))
            h = self._layers[0]()
            for number in range(1, len(self._layers)):
                self._fill(number, h)
                y = self._layers[number]()
                h = h + y if self._residual else y
            bias, weight = self._head
            affine(self.logits, h, weight, bias)
        return self.logits

    def _fill(self, number: int, x: Tensor) -> None:
        """The input side of a layer from its input."""
        affine(self._layers[number].values, x, self._input_weights[number], self._biases[number])
