"""How well a model predicts a text: every character scored exactly once, with real context around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.evaluation.documents import document_pieces
from charlstm.executors import State
from charlstm.executors.transfer import to_device
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.model.head_loss import target_nats
from charlstm.text.documents import Documents, Sequences
from charlstm.units import bits

Text: TypeAlias = npt.NDArray[np.integer] | Documents
Find: TypeAlias = Callable[[Tensor, Tensor], Tensor]

STREAMS = 64  # pieces of a text that are read side by side
WARM_UP = 512  # characters that a piece reads before its first scored one
CHUNK = 128  # characters a pass
READ_TOGETHER = 32  # passes whose results a GPU gives at once: who reads them waits for it


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


def score(model: LanguageModel, text: Text, between: Callable[[], None] = lambda: None) -> Score:
    """Mean -ln p of the characters of a text under the model: ids [N], of which the first is predicted from nothing,
    or documents, each of which begins from nothing, and whose end marks count too unless the model is bidirectional."""
    nats = nats_per_character(model, text, between)
    return Score(float(nats.astype(np.float64).mean()), len(nats), model.bidirectional)


def nats_per_character(
    model: LanguageModel, text: Text, between: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """-ln p of each character of a text, in float32 arithmetic: [N] in the order of the text; of documents, one after
    the other, each in the order in which it is read.

    A long text is read as up to 64 pieces side by side, each after a warm-up of the 512 characters before it (and,
    for a bidirectional model, after it). Documents of similar length are read side by side, each whole. The result does
    not depend on how the model was trained, and the model's mode, the random state and any carried state are left
    alone. ``between`` is called before each chunk; what it raises breaks the reading off.
    """
    head = model.head
    return per_character(model, text, lambda y, targets: target_nats(y, head.weight, head.bias, targets), (), between)


@torch.no_grad()
def per_character(
    model: LanguageModel, text: Text, find: Find, shape: tuple[int, ...], between: Callable[[], None]
) -> npt.NDArray[np.float32]:
    """Whatever ``find`` makes of the head's input [T, S, H] and the targets [T, S], namely [T, S, *shape], for each
    character of a text: [N, *shape]. The text is read as for :func:`nats_per_character`."""
    if len(text) == 0:
        raise ValueError("there is no character to score")
    with eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        if isinstance(text, Documents):
            sequences = Sequences(text, model.vocabulary_size, model.direction)
            found = np.empty((sequences.characters, *shape), np.float32)
            for pieces in document_pieces(model, sequences):
                _fill(found, model, pieces, find, between)
            return found
        found, reverse = np.empty((len(text), *shape), np.float32), model.direction == "backward"
        _fill(found, model, _Pieces(model, text[::-1] if reverse else text), find, between)
        return found[::-1].copy() if reverse else found


class Pieces(Protocol):
    """Texts side by side, S of them; offsets count from the first scored character of each.

    longest          the largest number of scored characters
    at(a, b)         ids at the offsets a to b, [b - a, S]; V outside of the text
    put(out, a, x)   what was found, x [T, S, ...], at the offsets from a on, into ``out`` [N, ...]
    warm_up()        the state before the first scored characters
    warm_up_after()  the backward stack's state beyond the offset ``longest``
    """

    longest: int

    def at(self, begin: int, end: int) -> Tensor: ...
    def put(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None: ...
    def warm_up(self) -> State: ...
    def warm_up_after(self) -> State: ...


def _fill(
    out: npt.NDArray[np.float32], model: LanguageModel, pieces: Pieces, find: Find, between: Callable[[], None]
) -> None:
    after = _states_after(model, pieces, between) if model.bidirectional else {}
    state = pieces.warm_up()
    together = 1 if model.head.weight.device.type == "cpu" else READ_TOGETHER
    first, found = 0, list[Tensor]()
    for begin, end in _chunks(pieces):
        between()
        window = pieces.at(begin - 1, end + 1)
        y, state = model.hidden(window[:-2], state, window[2:], after.get(end))
        found.append(find(y, window[1:-1].clamp(max=model.vocabulary_size - 1)))
        if len(found) == together or end == pieces.longest:
            pieces.put(out, first, torch.cat(found).cpu().numpy())
            first, found = end, []


def _chunks(pieces: Pieces) -> Iterator[tuple[int, int]]:
    return ((a, min(a + CHUNK, pieces.longest)) for a in range(0, pieces.longest, CHUNK))


def _states_after(model: LanguageModel, pieces: Pieces, between: Callable[[], None]) -> dict[int, State]:
    """The backward stack's state before each chunk, read from the right."""
    state, found = pieces.warm_up_after(), dict[int, State]()
    for begin, end in reversed(list(_chunks(pieces))):
        between()
        found[end] = state
        state = model.read_backward(pieces.at(begin + 1, end + 1), state)[1]
    return found


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

    def at(self, begin: int, end: int) -> Tensor:
        """Ids at the offsets, [end - begin, S]; V outside of the text."""
        places = self.starts + np.arange(begin, end)[:, None]
        found = np.take(self.ids, places, mode="clip").astype(np.int64)
        found[(places < 0) | (places >= len(self.ids))] = self.model.vocabulary_size
        return to_device(torch.from_numpy(found), self.device)

    def put(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None:
        offsets = np.arange(begin, begin + len(values))[:, None]
        out[(self.starts + offsets)[offsets < self.lengths]] = values[offsets < self.lengths]

    def warm_up(self) -> State:
        """The state before the first scored character; the text's own beginning has nothing before it."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.read(self.at(-WARM_UP - 1, -1), state)[1]
            for part in state:
                part[:, 0] = 0
        return state

    def warm_up_after(self) -> State:
        """The backward stack's state beyond the last scored character; the text's own end has nothing after it."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.read_backward(self.at(self.longest + 1, self.longest + 1 + WARM_UP), state)[1]
            for part in state:
                part[:, -1] = 0
        return state
