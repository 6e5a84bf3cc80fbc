"""What a model computes while it reads a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.probes.gates import decay_rates, gate_arguments
from charlstm.probes.node_values import node_values
from charlstm.probes.reading import float64_copy, layer_output, stacked_states
from charlstm.units import bits

CHUNK = 1000
"""Characters whose gates are computed at once."""
TOP = 5

Ids: TypeAlias = npt.NDArray[np.integer]
Values: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """What a model computes over a text of T characters, which it reads in its direction.

    ids          the text, [T]
    nats         -ln p of each character, given those that the model read before it, [T]
    top, top_p   ids and probabilities of the most probable characters in its place, the most probable first, [T, K]
    states       each part of the state after the character, by its letter, [T, L, H]
    gates        each gate on reading the character, by its letter, [T, L, H]
    decay        -ln of the part of the state that reading the character keeps, [T, L, H]: of the forget gate f, with
                 zoneout d of d + (1 - d) f; None for a cell without one
    before       the full state before the character, each part [T, ...], its batch dimension of size 1
    starts       the positions at which the model begins to read from the zero state: its first character and, for a
                 model of documents, that of each document; for a backward model, the last characters
    scored       whether each character counts in the loss, [T]: where only answers do, the model was not trained to
                 predict the others
    is_backward  whether the model reads from the end of the text to its beginning
    """

    ids: Ids
    nats: npt.NDArray[np.float64]
    top: npt.NDArray[np.int64]
    top_p: npt.NDArray[np.float64]
    states: Mapping[str, Values]
    gates: Mapping[str, Values]
    decay: Values | None
    before: State
    starts: tuple[int, ...]
    scored: npt.NDArray[np.bool_]
    is_backward: bool = False

    @property
    def bits_per_character(self) -> float:
        """The mean surprise of the characters that count in the loss."""
        return bits(float(self.nats[self.scored].mean()))

    @property
    def half_lives(self) -> npt.NDArray[np.float64] | None:
        """ln 2 / (mean decay), in characters, [L, H]: at this mean rate, half of what a unit holds is left after so
        many characters. None for a cell without a forget gate."""
        if self.decay is None:
            return None
        with np.errstate(divide="ignore"):
            half_lives: npt.NDArray[np.float64] = np.log(2) / self.decay.mean(0, dtype=np.float64)
        return half_lives

    def in_reading_order(self) -> npt.NDArray[np.int64]:
        """The positions of the text in the order in which the model reads them, [T]."""
        positions = np.arange(len(self.ids))
        return positions[::-1] if self.is_backward else positions


@torch.no_grad()
def record(
    model: LanguageModel, ids: Ids, bounds: Sequence[int] = (), scored: npt.NDArray[np.bool_] | None = None
) -> Recording:
    """Read a text ids [T], T > 0, in float64 by the reference executor.

    bounds: ascending positions in 1 to T - 1 at which a new document begins, which is read from the zero state.
    scored: whether each character counts in the loss, [T]; None: all do.

    Raises UserError for a bidirectional model.
    """
    network, is_backward = float64_copy(model), model.direction == "backward"
    edges = [0, *bounds, len(ids)]
    documents = [ids[a:b] for a, b in pairwise(edges)]
    if is_backward:
        documents = [document[::-1] for document in reversed(documents)]
    pieces = [piece for document in documents for piece in _read(network, document)]
    parts = [np.concatenate(arrays) for arrays in zip(*(piece.arrays for piece in pieces), strict=True)]
    before = [torch.cat(tensors) for tensors in zip(*(piece.before for piece in pieces), strict=True)]
    if is_backward:
        parts, before = [part[::-1].copy() for part in parts], [part.flip(0) for part in before]
    nats, top, top_p, *values = parts
    state_letters, gate_letters = pieces[0].state_letters, pieces[0].gate_letters
    return Recording(
        ids,
        nats,
        top,
        top_p,
        dict(zip(state_letters, values, strict=False)),
        dict(zip(gate_letters, values[len(state_letters) :], strict=False)),
        values[-1] if network.recurrent.cell.forget_gate in gate_letters else None,
        tuple(before),
        tuple(edge - 1 for edge in edges[1:]) if is_backward else tuple(edges[:-1]),
        np.ones(len(ids), bool) if scored is None else scored,
        is_backward,
    )


@dataclass(frozen=True)
class _Piece:
    """A chunk of a document: nats, top, top_p, states and gates, each [T, ...], and the states before, [T, ...]."""

    arrays: list[npt.NDArray[np.generic]]
    before: State
    state_letters: list[str]
    gate_letters: list[str]


def _read(network: LanguageModel, ids: Ids) -> Iterator[_Piece]:
    """Read one document, ids [T] in the order in which they are read."""
    device = network.head.weight.device
    document = torch.from_numpy(ids.astype(np.int64).copy()).to(device)[:, None]
    none = document.new_full((1, 1), network.vocabulary_size)
    _, state = network.encode(none, network.initial_state(1))
    arguments = gate_arguments(network.recurrent.cell)
    for chunk in torch.split(document, CHUNK):
        states = [state]
        for row in chunk:
            states.append(network.encode(row[None], states[-1])[1])
        h = torch.stack([one[0] for one in states[:-1]])
        p = network.head(layer_output(network, h, len(h[0]) - 1)[:, 0]).log_softmax(-1)
        top = p.topk(min(TOP, p.shape[-1]), -1)
        parts = {letter: part[:, :, 0] for letter, part in stacked_states(network, states[1:]).items()}
        values = node_values(network, chunk, state, list(arguments.values()), states)
        gates = {letter: values[node][:, :, 0].sigmoid() for letter, node in arguments.items()}
        forget_gate = arguments.get(network.recurrent.cell.forget_gate or "")
        decay = [] if forget_gate is None else [decay_rates(network, values[forget_gate])[:, :, 0]]
        arrays: list[npt.NDArray[np.generic]] = [
            *(_numpy(x) for x in (-p.gather(-1, chunk)[:, 0], top.indices, top.values.exp())),
            *(_numpy(x.float()) for x in (*parts.values(), *gates.values(), *decay)),
        ]
        before = tuple(torch.stack(steps) for steps in zip(*states[:-1], strict=True))
        yield _Piece(arrays, before, list(parts), list(gates))
        state = states[-1]


def _numpy(x: Tensor) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = x.cpu().numpy()
    return array
