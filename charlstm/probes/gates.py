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

    ``half_lives`` [L, H] is ln 2 / -mean(ln f) for the gate f that the cell declares as its forget gate (gru's z,
    coupled's f): the number of characters after which a unit's state decays to half at the mean rate of this text. None
    for a cell without such a gate.
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

    def series(self, letter: str, layer: int = 0, text: int = 0) -> Values:
        """One gate of one layer over one text, [T, H]: the rows of a heat map."""
        return self.values[letter][:, layer, text]


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
    half_lives = _half_lives(stacked[cell.forget_gate]) if cell.forget_gate in stacked else None
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


def _half_lives(argument: Tensor) -> Values:
    """ln 2 / -mean(ln sigmoid(a)) over the steps and the texts, a [T, L, B, H]: accurate even if sigmoid(a) rounds to
    1."""
    rate = F.softplus(-argument).mean((0, 2)).cpu().numpy()
    with np.errstate(divide="ignore"):
        half_lives: Values = np.log(2) / rate
    return half_lives
