"""A language model one character at a time: what sampling runs."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.executors.step import Step
from charlstm.model.language_model import LanguageModel


class Stepper:
    """Reads one character of each of B texts at a time and gives the logits of the next: constant cost a character.

    It works on the weights as they are now and holds a state of its own; the model's training is not touched.

    Raises UserError for a bidirectional model, which has no next character.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel, batch_size: int = 1) -> None:
        if model.bidirectional:
            raise UserError(
                "a bidirectional model sees both sides of a character and cannot write on; "
                "train with direction: forward (or backward) to sample"
            )
        stack = model.recurrent
        weights = [stack.weights(f"_l{layer}") for layer in range(stack.num_layers)]
        self._layers = [Step(stack.cell, w, batch_size) for w in weights]
        everything = torch.arange(model.vocabulary_size, device=model.head.weight.device)
        _, project = model.front_end(everything)
        first = weights[0].weight_ih
        self._table = self._layers[0].table(first if project is None else project(first)).contiguous()
        self._inputs = [(layer.bias(), w.weight_ih.t()) for layer, w in zip(self._layers[1:], weights[1:], strict=True)]
        self._head = (model.head.bias, model.head.weight.t())
        self._logits = first.new_empty(batch_size, model.vocabulary_size)

    @property
    def state(self) -> State:
        """The state of all layers, each part [L, B, H], as RecurrentStack has it."""
        return tuple(torch.stack(part) for part in zip(*(layer.state for layer in self._layers), strict=True))

    @state.setter
    def state(self, state: State) -> None:
        for number, layer in enumerate(self._layers):
            layer.state = tuple(part[number] for part in state)

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        """Logits [B, V] of what follows the characters ids [B]; they hold until the next call."""
        bottom = self._layers[0]
        torch.index_select(self._table, 0, ids, out=bottom.values)
        h = bottom()
        for layer, (bias, weight) in zip(self._layers[1:], self._inputs, strict=True):
            if bias is None:
                torch.mm(h, weight, out=layer.values)
            else:
                torch.addmm(bias, h, weight, out=layer.values)
            h = layer()
        return torch.addmm(self._head[0], h, self._head[1], out=self._logits)
