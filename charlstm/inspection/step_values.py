"""What one step of a cell computes, at each character of a text: every value of its equations, and the prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.cells import Cell
from charlstm.compiler.graph import Node, ordered, trace
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.node_values import node_values
from charlstm.probes.reading import float64_copy, layer_output

MAX_CHARACTERS = 60
MOST_PROBABLE = 5

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepValues:
    """A model's values while it reads T characters, in float64. After each character it predicts the next.

    Attributes:
        cell: the cell.
        ids: the characters in the order in which the model reads them, [T].
        nodes: every node of the cell's traced graph, [T, L, H] each; parameters and constants do not vary over T.
        bits: the surprise of each character after the first, -log2 p, [T - 1]; ``bits[t]`` is for the prediction made
            after character t.
        probabilities: the next character's distribution after each character, [T, V].
        scored: whether each character after the first counts in the loss, [T - 1].
    """

    cell: Cell
    ids: tuple[int, ...]
    nodes: Mapping[Node, Values]
    bits: Values
    probabilities: Values
    scored: npt.NDArray[np.bool_]

    def most_probable(self, t: int) -> list[tuple[int, float]]:
        """The most probable characters after character t, as (id, probability), the most probable first."""
        row = self.probabilities[t]
        return [(int(i), float(row[i])) for i in np.argsort(-row, kind="stable")[:MOST_PROBABLE]]


def step_values(
    model: LanguageModel,
    ids: Tensor | Sequence[int],
    scored: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
) -> StepValues:
    """The values of each step over the first `MAX_CHARACTERS` of a text, from the state after "no character", by the
    reference executor.

    ``ids`` [T] are in text order, and so is ``scored``, whether each counts in the loss (default: all do). A backward
    model reads them from the last to the first, and so are the results.

    Raises UserError for a bidirectional model and for an empty text.
    """
    network = float64_copy(model)
    text = torch.as_tensor(ids, dtype=torch.int64).flatten()[:MAX_CHARACTERS]
    if len(text) == 0:
        raise UserError("the text to inspect is empty")
    counts = np.ones(len(text), bool) if scored is None else np.asarray(scored, bool)[: len(text)]
    if network.direction == "backward":
        text, counts = text.flip(0), counts[::-1]
    previous = text[:, None].to(network.head.weight.device)
    cell = network.recurrent.cell
    new_state = trace(cell).new_state
    none = previous.new_full((1, 1), network.vocabulary_size)
    with torch.no_grad():
        _, state = network.encode(none, network.initial_state(1))
    values = node_values(network, previous, state, ordered(new_state))
    with torch.no_grad():
        top = layer_output(network, values[new_state[0]], network.recurrent.num_layers - 1)
        log_probabilities = network.head(top)[:, 0].log_softmax(-1).cpu()
    bits = -log_probabilities[:-1].gather(1, text[1:, None].cpu())[:, 0] / math.log(2)
    nodes = {n: value[:, :, 0].cpu().numpy() for n, value in values.items()}
    return StepValues(cell, tuple(text.tolist()), nodes, bits.numpy(), log_probabilities.exp().numpy(), counts[1:])
