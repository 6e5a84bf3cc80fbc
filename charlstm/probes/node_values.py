"""The value of each node of a cell's graph (:mod:`charlstm.compiler.graph`) at each character of a text."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import Cell
from charlstm.compiler.graph import Node, ordered
from charlstm.executors import State, Weights
from charlstm.executors.base import input_side
from charlstm.model import LanguageModel
from charlstm.probes.reading import layer_output, stacked_states, trajectory

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


@torch.no_grad()
def node_values(
    network: LanguageModel, previous: Tensor, state: State, nodes: Sequence[Node], known: Sequence[State] | None = None
) -> dict[Node, Tensor]:
    """The values of the nodes at each step over ``previous`` [T, B] from ``state``: [T, L, B, H] each.

    ``network`` is a copy as made by :func:`charlstm.probes.reading.float64_copy`. A parameter and a constant have the
    same value at each step. ``known``: the T + 1 states, from ``state`` on, if they have been computed before.
    """
    cell = network.recurrent.cell
    states = trajectory(network, previous, state) if known is None else stacked_states(network, known)
    h = states[cell.state[0]]
    layers: list[dict[Node, Tensor]] = []
    for layer in range(network.recurrent.num_layers):
        x, weights = _layer_input(network, previous, state, h, layer)
        before = {letter: part[:-1, layer] for letter, part in states.items()}
        values = evaluate(cell, nodes, weights, x, before)
        layers.append(
            {n: torch.as_tensor(values[n], dtype=h.dtype, device=h.device).expand_as(h[1:, 0]) for n in nodes}
        )
    return {n: torch.stack([values[n] for values in layers], 1) for n in nodes}


def _layer_input(model: LanguageModel, previous: Tensor, state: State, h: Tensor, layer: int) -> tuple[Tensor, Weights]:
    """The input of a layer and its weights, given the outputs h [T + 1, L, B, H] of all layers."""
    weights = model.recurrent.weights(f"_l{layer}")
    if layer:
        return layer_output(model, h[1:], layer - 1), weights
    previous, _ = model.front_end.with_window(previous, state[len(model.recurrent.cell.state) :])
    x, project = model.front_end(previous)
    return x, weights if project is None else replace(weights, weight_ih=project(weights.weight_ih))


def evaluate(
    cell: Cell,
    roots: Sequence[Node],
    weights: Weights,
    x: Tensor,
    before: Mapping[str, Tensor],
    known: Mapping[Node, Tensor] = MappingProxyType({}),
) -> dict[Node, Any]:
    """Evaluate the roots for all steps at once, [T, B, H], given the state before each step, [T, B, H], and the values
    of some nodes."""

    def split(letters: str, stacked: Tensor) -> dict[str, Tensor]:
        return dict(zip(letters, stacked.chunk(len(letters), -1), strict=True))

    inputs = split(cell.gates, input_side(x, weights.weight_ih, weights.bias_ih))
    cell_parameters = {name: split(letters, weights.parameters[name]) for name, letters in cell.parameters.items()}
    rows = {k: slice(n * weights.hidden_size, (n + 1) * weights.hidden_size) for n, k in enumerate(cell.gates)}
    values: dict[Node, Any] = dict(known)
    for n in ordered(roots, known):
        if n in known:
            continue
        arguments = [values[a] for a in n.args]
        if n.op == "constant":
            values[n] = n.label
        elif n.op == "input":
            values[n] = inputs[n.label]
        elif n.op == "state":
            values[n] = before[n.label]
        elif n.op == "parameter":
            name, entry = n.label
            values[n] = cell_parameters[name][entry]
        elif n.op in ("matmul", "addmm"):
            bias = None if weights.bias_hh is None else weights.bias_hh[rows[n.label]]
            matmul = F.linear(arguments[0], weights.weight_hh[rows[n.label]], bias)
            values[n] = matmul + inputs[n.label] if n.op == "addmm" else matmul
        else:
            values[n] = OPERATORS[n.op](*arguments)
    return values
