"""The gate activations of a model over a text.

The gates are found in the graph of a cell's equations: a gate is the sigmoid of a sum that contains one gate letter.
This module does not refer to cells by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import Cell
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.model.zoneout import NAME as ZONEOUT
from charlstm.probes.node_values import node_values
from charlstm.probes.reading import float64_copy, initial_state
from charlstm.text.vocabulary import Vocabulary

LEFT_SATURATED, RIGHT_SATURATED = 0.1, 0.9
"""Thresholds below and above which a gate is saturated (Karpathy, Johnson & Fei-Fei 2015)."""

Values: TypeAlias = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Saturation:
    """Statistics of one gate over all steps of all texts, each [L, H]: its mean, the fraction of steps at which it is
    left-saturated, below 0.1, and the fraction at which it is right-saturated, above 0.9."""

    mean: Values
    left: Values
    right: Values


@dataclass(frozen=True)
class Gates:
    """Every gate by its letter in the cell, [T, L, B, H], in 0 .. 1.

    ``half_lives`` [L, H] is ln 2 / (mean rate of decay) as in :func:`decay_rates`: the number of characters after which
    a unit's state decays to half at the mean rate of this text. None for a cell without a forget gate.
    """

    values: Mapping[str, Values]
    half_lives: Values | None

    def saturation(self, letter: str) -> Saturation:
        """Statistics of each unit of one gate (Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding
        recurrent networks", section 4.2)."""
        values = self.values[letter]
        return Saturation(
            *(x.mean((0, 2), dtype=np.float64) for x in (values, values < LEFT_SATURATED, values > RIGHT_SATURATED))
        )

    def series(self, letter: str) -> Values:
        """One gate of the first layer over the first text, [T, H]: the rows of a heat map."""
        return self.values[letter][:, 0, 0]


@torch.no_grad()
def gates(model: LanguageModel, previous: Tensor, state: State | None = None) -> Gates:
    """The gates at each step over ``previous`` [T, B] from ``state`` (default: zeros), by the reference executor.

    Raises UserError for a bidirectional model.
    """
    network = float64_copy(model)
    previous = previous.to(network.head.weight.device)
    cell, first = network.recurrent.cell, initial_state(network, previous.shape[1], state)
    arguments = gate_arguments(cell)
    values = node_values(network, previous, first, list(arguments.values()))
    stacked = {letter: values[node] for letter, node in arguments.items()}
    half_lives = None
    if cell.forget_gate in stacked:
        rates = decay_rates(network, stacked[cell.forget_gate]).mean((0, 2)).cpu().numpy()
        with np.errstate(divide="ignore"):
            half_lives = np.log(2) / rates
    return Gates({letter: values.sigmoid().cpu().numpy() for letter, values in stacked.items()}, half_lives)


def characters(vocabulary: Vocabulary, ids: Tensor) -> list[str]:
    """Labels for the steps of a series: the characters of the ids [T]; "" for "no character"."""
    return ["" if i == vocabulary.size else vocabulary.symbols[i] for i in ids.tolist()]


@cache
def gate_arguments(cell: Cell) -> dict[str, Node]:
    """Gate letter -> the argument of its sigmoid, in the graph of the cell's equations.

    A letter without a sigmoid, such as a candidate's, is left out.
    """
    arguments: dict[str, Node] = {}
    for n in ordered(trace(cell).new_state):
        letters = _letters(n.args[0]) if n.op == "sigmoid" else set()
        if len(letters) == 1:
            arguments[letters.pop()] = n.args[0]
    return {letter: arguments[letter] for letter in cell.gates if letter in arguments}


def _letters(n: Node) -> set[str]:
    """The gate letters in a sum, without descending into other functions."""
    if n.op in ("input", "matmul", "addmm"):
        return {n.label}
    inner = n.args if n.op in ("add", "sub", "mul", "neg") else ()
    return {letter for a in inner for letter in _letters(a)}


def decay_rates(network: LanguageModel, argument: Tensor) -> Tensor:
    """-ln of the part of a unit's state that each step keeps, given the argument a [T, L, B, H] of the forget gate
    f = sigmoid(a) that the cell declares (gru's z, coupled's f): of f, or with zoneout d of this part of the state of
    d + (1 - d) f. Accurate even if f rounds to 1."""
    kept = zoneout_rates(network)
    if kept is None:
        return F.softplus(-argument)
    return -torch.log1p(-(1 - kept[:, None]) * torch.sigmoid(-argument))


def zoneout_rates(network: LanguageModel) -> Tensor | None:
    """The zoneout of each unit, [L, H], of the part of the state that carries information from step to step: c, or h in
    a cell without c. None if it has none."""
    stack = network.recurrent
    letters, part = stack.cell.parameters.get(ZONEOUT, ""), stack.cell.state[-1]
    if part not in letters:
        return None
    layers = [stack.weights(f"_l{layer}").parameters[ZONEOUT] for layer in range(stack.num_layers)]
    return torch.stack([rates.chunk(len(letters))[letters.index(part)] for rates in layers])
