"""Ablation of single units: how much a prediction depends on one unit's memory.

The state of a unit, in all parts, is held at its mean over the text at every step, and the loss at chosen positions,
such as closing quotes or brackets, is compared with that of the intact network. Karpathy, Johnson & Fei-Fei 2015,
"Visualizing and understanding recurrent networks", show such units by their activations; the change of the loss tells
how much the predictions need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.editing import encode_edited
from charlstm.probes.reading import float64_copy, initial_state, trajectory

UNITS = 64
"""Number of units that are ablated at once, each in a copy of the batch."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ablation:
    """Losses in nats per character, means over the chosen positions and over all others (NaN if there are none).

    loss, loss_elsewhere      of the intact network
    change, change_elsewhere  by holding one unit at its mean, [L, H]
    """

    loss: float
    loss_elsewhere: float
    change: Values
    change_elsewhere: Values


@torch.no_grad()
def ablate_units(model: LanguageModel, texts: Tensor, chosen: Tensor, state: State | None = None) -> Ablation:
    """Ablate every unit in turn. texts [T + 1, B]: ids, V for "no character"; the first T are the input, the last T the
    targets. chosen [T, B]: mask of the targets. ``state`` is the state before the texts (default: zeros).

    Computed in float64 by the reference executor. Raises ValueError for a mask of another shape or without a position,
    and UserError for a bidirectional model.
    """
    if chosen.shape != texts[1:].shape or not chosen.any():
        raise ValueError(f"chosen must be a mask of {list(texts[1:].shape)} with at least one position")
    network = float64_copy(model)
    device, layers, hidden_size = network.head.weight.device, network.recurrent.num_layers, model.config.hidden_size
    texts, chosen = texts.to(device), chosen.to(device)
    first = initial_state(network, texts.shape[1], state)
    means = torch.stack([part[1:].mean((0, 2)) for part in trajectory(network, texts[:-1], first).values()])
    intact = _losses(network, texts, chosen, first, means, [-1])[0]
    units = list(range(layers * hidden_size))
    ablated = [
        row
        for begin in range(0, len(units), UNITS)
        for row in _losses(network, texts, chosen, first, means, units[begin : begin + UNITS])
    ]
    change, elsewhere = (np.array(ablated) - intact).T.reshape(2, layers, hidden_size)
    return Ablation(*intact, change, elsewhere)


def _losses(
    network: LanguageModel, texts: Tensor, chosen: Tensor, state: State, means: Tensor, units: list[int]
) -> list[tuple[float, float]]:
    """For each of the units, numbered through the layers (-1: none), the mean loss at the chosen targets and elsewhere
    while the unit is held at its mean of each part, means [P, L, H]."""
    copies, (steps, batch), hidden_size = len(units), texts[1:].shape, network.recurrent.hidden_size
    columns = torch.arange(copies * batch, device=texts.device)
    held_unit = torch.tensor(units, device=texts.device).repeat_interleave(batch)

    def hold(layer: int, parts: State) -> None:
        is_held = held_unit // hidden_size == layer
        held, unit = columns[is_held], held_unit[is_held] % hidden_size
        for part, mean in zip(parts, means[:, layer], strict=True):
            part[held, unit] = mean[unit]

    initial = tuple(part.repeat(1, copies, 1) for part in state)
    y, _ = encode_edited(network, texts[:-1].repeat(1, copies), initial, hold)
    nats = F.cross_entropy(network.head(y).flatten(0, 1), texts[1:].repeat(1, copies).flatten(), reduction="none")
    by_copy = nats.view(steps, copies, batch).transpose(0, 1)
    return [(float(one[chosen].mean()), float(one[~chosen].mean())) for one in by_copy]
