"""How large the state of a network is, and how much of it is constant, over a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.reading import float64_copy, initial_state, trajectory


@dataclass(frozen=True)
class StateSize:
    """Of each part of the state by its letter, over T steps, all layers, B texts and H units:

    rms                root mean square
    constant_fraction  mean square of the units' means over steps and texts, divided by the mean square: 1 if the state
                       is the same everywhere, NaN if it is zero everywhere
    """

    rms: Mapping[str, float]
    constant_fraction: Mapping[str, float]


@torch.no_grad()
def state_size(model: LanguageModel, previous: Tensor, state: State | None = None) -> StateSize:
    """The size of the state after each of the characters ``previous`` [T, B], from ``state`` (default: zeros), by the
    reference executor in float64.

    Raises UserError for a bidirectional model.
    """
    network = float64_copy(model)
    previous = previous.to(network.head.weight.device)
    parts = trajectory(network, previous, initial_state(network, previous.shape[1], state))
    squares = {letter: float(values[1:].square().mean()) for letter, values in parts.items()}
    of_means = {letter: float(values[1:].mean((0, 2)).square().mean()) for letter, values in parts.items()}
    return StateSize(
        {letter: square**0.5 for letter, square in squares.items()},
        {letter: of_means[letter] / square if square else float("nan") for letter, square in squares.items()},
    )
