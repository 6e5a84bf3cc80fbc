"""What a prediction leans on: how much it depends on each of the characters before it.

Two measures, for each character t and each k from 1 to K, with x the input of the first layer (the embedded character):

    gradient    the Euclidean norm of d(-ln p_t) / d x_{t-k}, in nats per unit of x: what a small change would do
    replaced    the mean change of -log2 p_t, in bits, when the character at t - k is replaced by another one, drawn
                from the text: positive if the prediction is better with the right one

For a backward model t - k is t + k: the k-th last character that it has read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.executors import State
from charlstm.inspection.recording import Recording
from charlstm.model import LanguageModel
from charlstm.probes.reading import probe_mode

WINDOWS = 256
"""Number of windows of the text in a batch."""

Values: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Leaning:
    """Both measures of a text, [T, K]; column k - 1 is that of the k-th last character, NaN where there is none."""

    gradient: Values
    replaced: Values


def leaning(model: LanguageModel, recording: Recording, context: int, draws: int = 2, seed: int = 1) -> Leaning:
    """Measure how much each prediction of a recorded text depends on the ``context`` characters before it, K.

    draws: the number of characters, drawn from the text, by which each character is replaced in turn.

    The cost is that of reading T K (2 + draws) characters. Raises UserError for a bidirectional model.
    """
    windows = _Windows(model, recording, context)
    with probe_mode(model):
        gradient, replaced = windows.gradient(), windows.replaced(draws, seed)
    if recording.is_backward:
        gradient, replaced = gradient[::-1].copy(), replaced[::-1].copy()
    return Leaning(gradient, replaced)


class _Windows:
    """Windows of the text, in the order in which the model reads it, each from the recorded state before it."""

    def __init__(self, model: LanguageModel, recording: Recording, context: int) -> None:
        order = recording.in_reading_order()
        device, dtype = model.head.weight.device, model.head.weight.dtype
        self._model, self._context, self._length = model, context, len(order)
        self._ids = torch.from_numpy(recording.ids[order].astype(np.int64)).to(device)
        reading_order = torch.from_numpy(order.copy())
        self._before: State = tuple(part[reading_order].to(device, dtype) for part in recording.before)
        rank = np.argsort(order)
        starts = sorted(int(rank[start]) for start in recording.starts)
        positions = np.arange(self._length)
        self._first = positions - np.array(starts)[np.searchsorted(starts, positions, side="right") - 1]
        """The number of characters of its document before each position."""

    def _state_before(self, positions: Tensor) -> State:
        """The state before the characters at some positions [B]: each part [L, B, H]."""
        return tuple(part[positions].transpose(0, 1).flatten(1, 2) for part in self._before)

    def gradient(self) -> Values:
        """[T, K]. The windows end at each position; only the last loss counts."""
        K, result = self._context, np.full((self._length, self._context), math.nan, np.float32)
        for begin in range(0, self._length, WINDOWS):
            t = torch.arange(begin, min(begin + WINDOWS, self._length))
            available = torch.from_numpy(np.minimum(self._first[t.numpy()], K))
            start = t - available
            steps = torch.arange(K)[:, None]
            inputs = self._ids[(start + steps).clamp(max=self._length - 1)]
            with torch.enable_grad():
                x = _input_vectors(self._model, inputs, self._state_before(start)).detach().requires_grad_()
                y, _ = self._model.recurrent(x, self._state_before(start)[: len(self._model.recurrent.cell.state)])
                has_context = available > 0
                last = y[(available - 1).clamp(min=0), torch.arange(len(t))]
                nats = F.cross_entropy(self._model.head(last), self._ids[t], reduction="none")
                (d_x,) = torch.autograd.grad(nats[has_context].sum(), x)
            norms = d_x.norm(dim=-1).cpu()
            for k in range(1, K + 1):
                inside = available >= k
                result[t[inside].numpy(), k - 1] = norms[(available - k)[inside], torch.nonzero(inside)[:, 0]].numpy()
        return result

    @torch.no_grad()
    def replaced(self, draws: int, seed: int) -> Values:
        """[T, K]. The windows begin at each position, whose character is replaced."""
        K, T = self._context, self._length
        result = np.full((T, K), math.nan, np.float32)
        generator = torch.Generator().manual_seed(seed)
        for begin in range(0, T, WINDOWS):
            t = torch.arange(begin, min(begin + WINDOWS, T))
            ids = self._ids[(t + torch.arange(K + 1)[:, None]).clamp(max=T - 1)]
            state = self._state_before(t)
            right = self._nats(ids, state)
            change = torch.zeros_like(right)
            for _ in range(draws):
                wrong = ids.clone()
                wrong[0] = self._other_characters(ids[0], generator)
                change += (self._nats(wrong, state) - right) / (draws * math.log(2))
            changes = change.cpu().numpy()
            for k in range(1, K + 1):
                target = t.numpy() + k
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
        """For each id a different one, drawn from the text; the same where the text has only one character."""
        drawn = self._ids[torch.randint(self._length, (len(ids), 16), generator=generator).to(ids.device)]
        differs = drawn != ids[:, None]
        return torch.where(differs.any(1), drawn.gather(1, differs.int().argmax(1, keepdim=True))[:, 0], ids)


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
