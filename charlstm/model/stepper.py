"""A language model one character at a time: what sampling runs, natively where it can."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State, Weights, executors
from charlstm.executors.base import product_dtype
from charlstm.executors.native import Writer
from charlstm.executors.step import Step
from charlstm.model.language_model import LanguageModel


def native_writer(model: LanguageModel, batch_size: int = 1) -> Writer | None:
    """The model as it is now, as a native writer of text; None where the executor asked for is another, or refuses.

    Under ``torch.autocast`` its products are made in the autocast type.

    Raises UserError for a bidirectional model, which has no next character.
    """
    stack, first = model.recurrent, _first_weights(model)
    weights = [first, *(stack.weights(f"_l{layer}") for layer in range(1, stack.num_layers))]
    ids = torch.zeros(1, 1, dtype=torch.int64)
    if stack.executor not in ("auto", "native") or executors()["native"].refuses(stack.cell, first, ids):
        return None
    with torch.no_grad():
        return Writer(
            stack.cell, weights, model.head.weight, model.head.bias, batch_size, product_dtype(first.weight_hh)
        )


@torch.no_grad()
def _first_weights(model: LanguageModel) -> Weights:
    """The weights of the first layer for one-hot vectors."""
    if model.bidirectional:
        raise UserError(
            "a bidirectional model sees both sides of a character and cannot write on, but fills gaps: --infill; "
            "train with direction: forward (or backward) to go on from a text"
        )
    weights = model.recurrent.weights()
    everything = torch.arange(model.vocabulary_size, device=weights.weight_hh.device)
    _, project = model.front_end(everything)
    return weights if project is None else replace(weights, weight_ih=project(weights.weight_ih))


class Stepper:
    """Reads one character of each of B texts at a time and gives the logits of the next: constant cost a character.

    It works on the weights as they are now and holds a state of its own; the model's training is not touched.

    Raises UserError for a bidirectional model, which has no next character.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel, batch_size: int = 1) -> None:
        stack = model.recurrent
        weights = [_first_weights(model), *(stack.weights(f"_l{layer}") for layer in range(1, stack.num_layers))]
        self._layers = [Step(stack.cell, w, batch_size) for w in weights]
        first = weights[0].weight_ih
        self.device = first.device
        self._table = self._layers[0].table(first).contiguous()
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
