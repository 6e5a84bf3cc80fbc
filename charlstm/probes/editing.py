"""Run a model while its states are changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.graph import trace
from charlstm.executors import State, Weights
from charlstm.executors.reference import Reference
from charlstm.model import LanguageModel
from charlstm.probes.node_values import evaluate

Edit: TypeAlias = Callable[[int, State], None]
"""Called with the number of a layer and its new state, each part [B, H], which it may change in place."""


def encode_edited(model: LanguageModel, previous: Tensor, state: State, edit: Edit) -> tuple[Tensor, State]:
    """As ``model.encode``, by the reference executor; ``edit`` may change the state of each layer after each character.

    A changed part acts at once: the output h is computed from the other parts as changed, and then ``edit`` is called
    again, so that it can also change h. ``previous`` [T, B].
    """
    stack = model.recurrent
    parts = len(stack.cell.state)
    ids, window = model.front_end.with_window(previous, state[parts:])
    x, project = model.front_end(ids)
    final: list[State] = []
    total = x
    for layer in range(stack.num_layers):
        weights = stack.weights(f"_l{layer}")
        if layer == 0 and project is not None:
            weights = replace(weights, weight_ih=project(weights.weight_ih))
        current = tuple(part[layer] for part in state[:parts])
        outputs = []
        for x_t in x.split(1):
            before = current
            _, current = Reference().run(stack.cell, weights, x_t, current)
            edit(layer, current)
            if parts > 1:
                current = (_output(stack.cell, weights, x_t, before, current), *current[1:])
                edit(layer, current)
            outputs.append(current[0])
        y = torch.stack(outputs)
        x = x + y if stack.residual and layer else y
        total = total + y if stack.sum_outputs and layer else x
        final.append(current)
    return total, (*(torch.stack(layers) for layers in zip(*final, strict=True)), *window)


def _output(cell: Cell, weights: Weights, x: Tensor, before: State, after: State) -> Tensor:
    """The first part of the new state, given the others, each [B, H]."""
    output, *others = trace(cell).new_state
    old = {letter: part[None] for letter, part in zip(cell.state, before, strict=True)}
    known = {node: part[None] for node, part in zip(others, after[1:], strict=True)}
    value: Tensor = evaluate(cell, [output], weights, x, old, known)[output]
    return value[0]
