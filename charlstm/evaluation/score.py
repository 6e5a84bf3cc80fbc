"""How well a model predicts a text: every character scored exactly once, with real context around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.model.evaluating import evaluating
from charlstm.model.head_loss import target_nats
from charlstm.units import bits

STREAMS = 64  # pieces of a text that are read side by side
WARM_UP = 512  # characters that a piece reads before its first scored one
CHUNK = 128  # characters a pass


@dataclass(frozen=True)
class Score:
    """A mean over ``characters`` characters.

    nats                 -ln p, mean per character
    bits_per_character   nats / ln 2
    perplexity           e^nats
    pseudo               p of each character given both sides of it: a pseudo-likelihood, not comparable with a
    causal one
    """

    nats: float
    characters: int
    pseudo: bool = False

    @property
    def bits_per_character(self) -> float:
        return bits(self.nats)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats, 700.0))


def score(model: LanguageModel, ids: npt.NDArray[np.integer], between: Callable[[], None] = lambda: None) -> Score:
    """Mean -ln p of the characters ids [N] under the model. The first one is predicted from nothing."""
    nats = nats_per_character(model, ids, between)
    return Score(float(nats.astype(np.float64).mean()), len(nats), model.bidirectional)


@torch.no_grad()
def nats_per_character(
    model: LanguageModel, ids: npt.NDArray[np.integer], between: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """-ln p of each character of the text ids [N], in float32 arithmetic: [N].

    A long text is read as up to 64 pieces side by side, each after a warm-up of the 512 characters before it (and,
    for a bidirectional model, after it). The result does not depend on how the model was trained, and the model's
    mode, the random state and any carried state are left alone. ``between`` is called before each chunk; what it raises
    breaks the reading off.
    """
    if len(ids) == 0:
        raise ValueError("there is no character to score")
    reverse = model.direction == "backward"
    pieces = _Pieces(model, ids[::-1] if reverse else ids)
    with evaluating(model), torch.autocast(pieces.device.type, enabled=False):
        after = pieces.states_after(between) if model.bidirectional else {}
        nats = np.empty(len(ids), np.float32)
        state = pieces.warm_up()
        for begin, end in pieces.chunks():
            between()
            previous, target, following = (pieces.at(begin + k, end + k) for k in (-1, 0, 1))
            y, state = model.hidden(previous, state, following, after.get(end))
            found = target_nats(y, model.head.weight, model.head.bias, target.clamp(max=model.vocabulary_size - 1))
            pieces.put(nats, begin, found)
    return nats[::-1].copy() if reverse else nats


class _Pieces:
    """The text as pieces of equal length side by side; piece b begins at N b / S, the last piece ends with the text.

    Offsets count from the first scored character of each piece; a piece that is one shorter goes one into the next.
    """

    def __init__(self, model: LanguageModel, ids: npt.NDArray[np.integer]) -> None:
        self.model, self.ids, self.device = model, ids, model.head.weight.device
        count = min(STREAMS, max(1, len(ids) // (2 * WARM_UP)))
        bounds = [len(ids) * b // count for b in range(count + 1)]
        self.starts, self.lengths = np.array(bounds[:-1]), np.diff(bounds)
        self.longest = int(self.lengths.max())

    def chunks(self) -> Iterator[tuple[int, int]]:
        return ((a, min(a + CHUNK, self.longest)) for a in range(0, self.longest, CHUNK))

    def at(self, begin: int, end: int) -> Tensor:
        """Ids at the offsets, [end - begin, S]; V outside of the text."""
        places = self.starts + np.arange(begin, end)[:, None]
        found = np.take(self.ids, places, mode="clip").astype(np.int64)
        found[(places < 0) | (places >= len(self.ids))] = self.model.vocabulary_size
        return torch.from_numpy(found).to(self.device)

    def put(self, out: npt.NDArray[np.float32], begin: int, values: Tensor) -> None:
        offsets = np.arange(begin, begin + len(values))[:, None]
        out[(self.starts + offsets)[offsets < self.lengths]] = values.cpu().numpy()[offsets < self.lengths]

    def warm_up(self) -> State:
        """The state before the first scored character; the text's own beginning has nothing before it."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.read(self.at(-WARM_UP - 1, -1), state)[1]
            for part in state:
                part[:, 0] = 0
        return state

    def states_after(self, between: Callable[[], None]) -> dict[int, State]:
        """The backward stack's state before each chunk, read from the right; the text's own end has nothing after
        it."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.read_backward(self.at(self.longest + 1, self.longest + 1 + WARM_UP), state)[1]
            for part in state:
                part[:, -1] = 0
        found: dict[int, State] = {}
        for begin, end in reversed(list(self.chunks())):
            between()
            found[end] = state
            state = self.model.read_backward(self.at(begin + 1, end + 1), state)[1]
        return found
