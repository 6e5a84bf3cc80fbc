"""How much a prediction depends on each of the characters before it: input attribution.

Two measures, for each character t and each k from 1 to K, with x the input of the first layer: the vector of a
character, or for a convolution that of the characters of its window:

    gradient    the Euclidean norm of d(-ln p_t) / d x_{t-k}, in nats per unit of x: what a small change would do
    replaced    the mean change of -log2 p_t, in bits, when the character at t - k is replaced by another one, drawn
                from the text (the mean over a few): positive if the prediction is better with the right one

For a backward model t - k is t + k: the k-th last character that it has read.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.evaluation.score import OnProgress
from charlstm.executors import State
from charlstm.inspection.recording import Recording
from charlstm.model import LanguageModel
from charlstm.probes.reading import probe_mode

WINDOWS = 256
"""Number of windows of the text in a batch."""

REPLACING = 0.7
"""About the part of the time that replacing characters takes; the gradient takes the rest."""

Values: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Attribution:
    """Both measures of a text, [T, K]; column k - 1 is that of the k-th last character, NaN where there is none."""

    gradient: Values
    replaced: Values


def mean_by_distance(values: npt.NDArray[np.floating], scored: npt.NDArray[np.bool_]) -> list[float]:
    """The means over the scored characters [T] of values [T, K] that are NaN where there is no character: [K], up to
    the largest distance at which there is one."""
    values = values[scored].astype(np.float64)
    values = values[:, ~np.isnan(values).all(0)]
    return [float(f"{mean:.6g}") for mean in np.nanmean(values, 0)]


def measure_attribution(
    model: LanguageModel,
    recording: Recording,
    context: int,
    draws: int = 2,
    seed: int = 1,
    on_progress: OnProgress = lambda _: None,
) -> Attribution:
    """Measure how much each prediction of a recorded text depends on the ``context`` characters before it, K.

    draws: the number of characters, drawn from the text, by which each character is replaced in turn.

    The cost is that of reading T K (2 + draws) characters. Raises UserError for a bidirectional model.
    """
    windows = _Windows(model, recording, context)
    with probe_mode(model):
        replaced = windows.replaced(draws, seed, lambda fraction: on_progress(REPLACING * fraction))
    on_progress(REPLACING)
    gradient = gradient_norms(
        model, recording, context, lambda fraction: on_progress(REPLACING + (1 - REPLACING) * fraction)
    )
    return Attribution(gradient, replaced[::-1].copy() if recording.is_backward else replaced)


def gradient_norms(
    model: LanguageModel, recording: Recording, context: int, on_progress: OnProgress = lambda _: None
) -> Values:
    """The gradient of :class:`Attribution` alone. The cost is that of reading T K characters, and of the gradient."""
    if model.recurrent.cell.stop_gradient:  # of an ablation, which cuts the gradient in training
        model = deepcopy(model)
        model.recurrent.cell = replace(model.recurrent.cell, stop_gradient="")
    with probe_mode(model):
        gradient = _Windows(model, recording, context).gradient(on_progress)
    return gradient[::-1].copy() if recording.is_backward else gradient


class _Windows:
    """Windows of the text, in the order in which the model reads it, each from the recorded state before it."""

    def __init__(self, model: LanguageModel, recording: Recording, context: int) -> None:
        order = recording.in_reading_order()
        device, dtype = model.head.weight.device, model.head.weight.dtype
        self._model, self._context, self._length = model, context, len(order)
        self._ids = torch.from_numpy(recording.ids[order].astype(np.int64)).to(device)
        reading_order = torch.from_numpy(order.copy()).to(recording.before[0].device)
        self._before: State = tuple(part[reading_order].to(device, dtype) for part in recording.before)
        rank = np.argsort(order)
        starts = sorted(int(rank[start]) for start in recording.starts)
        positions = np.arange(self._length)
        self._first = positions - np.array(starts)[np.searchsorted(starts, positions, side="right") - 1]
        """The number of characters of its document before each position."""

    def _to_device(self, positions: npt.NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(positions).to(self._ids.device)

    def _state_before(self, positions: Tensor) -> State:
        """The state before the characters at some positions [B]: each part [L, B, H]."""
        return tuple(part[positions].transpose(0, 1).flatten(1, 2) for part in self._before)

    def gradient(self, on_progress: OnProgress) -> Values:
        """[T, K]. The windows end at each position; only the last loss counts."""
        K, result = self._context, np.full((self._length, self._context), math.nan, np.float32)
        for begin in range(0, self._length, WINDOWS):
            on_progress(begin / self._length)
            positions = np.arange(begin, min(begin + WINDOWS, self._length))
            t, available = self._to_device(positions), self._to_device(np.minimum(self._first[positions], K))
            start = t - available
            steps = self._to_device(np.arange(K))[:, None]
            inputs = self._ids[(start + steps).clamp(max=self._length - 1)]
            with torch.enable_grad():
                x = _input_vectors(self._model, inputs, self._state_before(start)).detach().requires_grad_()
                y, _ = self._model.recurrent(x, self._state_before(start)[: len(self._model.recurrent.cell.state)])
                has_context = available > 0
                last = y[(available - 1).clamp(min=0), t - begin]
                nats = F.cross_entropy(self._model.head(last), self._ids[t], reduction="none")
                (d_x,) = torch.autograd.grad(nats[has_context].sum(), x)
            # In float64, since the squares of small gradients are zero in float32.
            norms, lengths = torch.linalg.vector_norm(d_x.cpu().double(), dim=-1).numpy(), available.cpu().numpy()
            for k in range(1, K + 1):
                inside = np.flatnonzero(lengths >= k)
                result[positions[inside], k - 1] = norms[lengths[inside] - k, inside]
        return result

    @torch.no_grad()
    def replaced(self, draws: int, seed: int, on_progress: OnProgress) -> Values:
        """[T, K]. The windows begin at each position, whose character is replaced."""
        K, T = self._context, self._length
        result = np.full((T, K), math.nan, np.float32)
        generator = torch.Generator().manual_seed(seed)
        for begin in range(0, T, WINDOWS):
            on_progress(begin / T)
            positions = np.arange(begin, min(begin + WINDOWS, T))
            ids = self._ids[self._to_device(np.minimum(positions + np.arange(K + 1)[:, None], T - 1))]
            state = self._state_before(self._to_device(positions))
            right = self._nats(ids, state)
            change = torch.zeros_like(right)
            for _ in range(draws):
                wrong = ids.clone()
                wrong[0] = self._other_characters(ids[0], generator)
                change += (self._nats(wrong, state) - right) / (draws * math.log(2))
            changes = change.cpu().numpy()
            for k in range(1, K + 1):
                target = positions + k
                inside = target < T
                inside[inside] = self._first[target[inside]] >= k
                result[target[inside], k - 1] = changes[k - 1, inside]
        return result

    def _nats(self, ids: Tensor, state: State) -> Tensor:
        """-ln p of all but the first of the ids [K + 1, B]: [K, B]."""
        y, _ = self._model.encode(ids[:-1], state)
        logits = self._model.head(y)
        return F.cross_entropy(logits.flatten(0, 1), ids[1:].flatten(), reduction="none").view(ids[1:].shape)

    def _other_characters(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        """For each id another one, drawn from the characters of the text that differ; the same if none does."""
        counts = torch.bincount(self._ids.cpu(), minlength=self._model.vocabulary_size).double()
        weights = counts.repeat(len(ids), 1)
        weights[torch.arange(len(ids)), ids.cpu()] = 0
        if not bool(weights.any()):
            return ids
        return torch.multinomial(weights, 1, generator=generator)[:, 0].to(ids.device)


def _input_vectors(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
    """The input of the first layer for ids [T, B] as vectors [T, B, I], given the full state before them."""
    parts = len(model.recurrent.cell.state)
    windowed, _ = model.front_end.with_window(ids, state[parts:])
    x, project = model.front_end(windowed)
    if x.is_floating_point():
        return x  # type: ignore[no-any-return]
    size = model.front_end.output_size
    identity = torch.eye(size, device=ids.device, dtype=model.head.weight.dtype)
    columns = identity if project is None else project(identity)
    return F.embedding(x, F.pad(columns, (0, 1)).t())
