"""Scores: -ln p of every character of a text under a model."""

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
from charlstm.text.blocks import cut_blocks
from charlstm.text.documents import Documents, Sequences
from charlstm.units import bits

Text: TypeAlias = npt.NDArray[np.integer] | Documents
Statistic: TypeAlias = Callable[[Tensor, Tensor], Tensor]
OnProgress: TypeAlias = Callable[[float], None]
"""Called regularly with the fraction of the work that is done."""

STREAMS = 64  # pieces of a text in a batch; a CPU reads as many characters per second in 32 to 256 of them
MAX_STREAMS, LONG = 256, 8192  # pieces of a long text, if each has so many characters, to which the warm-up adds little
WARM_UP = 512  # characters of context before the first scored one of a piece
CHUNK = 128  # characters per forward pass
CHUNKS_PER_COPY = 32  # chunks whose results are copied from a GPU at once: each copy synchronizes
BLOCKS, SHORTEST_BLOCK = 20, 50  # characters


@dataclass(frozen=True)
class Score:
    """A mean over ``characters`` characters.

    nats                  -ln p, mean per character
    bits_per_character    nats / ln 2
    perplexity            e^nats
    is_pseudo_likelihood  whether p is given both sides of a character: a pseudo-likelihood, not comparable with a
                          causal model's likelihood
    sampled_from          if the characters are a sample of a text: the number of characters of that text
    standard_error        of the mean of a sample, in nats, as an estimate of that of the text
    block_error           standard error of the mean, in nats, as an estimate of that of all texts of the kind, from its
                          spread over blocks of the text: about 0 for an even text; None for fewer than 100 characters
    """

    nats: float
    characters: int
    is_pseudo_likelihood: bool = False
    sampled_from: int | None = None
    standard_error: float | None = None
    block_error: float | None = None

    @property
    def bits_per_character(self) -> float:
        return bits(self.nats)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats, 700.0))


def score(model: LanguageModel, text: Text, on_progress: OnProgress = lambda _: None) -> Score:
    """Mean -ln p of the characters of a text: ids [N], the first predicted without context, or documents, each scored
    from a zero state; their end marks count too unless the model is bidirectional."""
    return mean_score(nats_per_character(model, text, on_progress), model.bidirectional)


def mean_score(nats: npt.NDArray[np.float32], is_pseudo_likelihood: bool) -> Score:
    """The score of a text, given -ln p of each of its characters [N]."""
    return Score(float(nats.astype(np.float64).mean()), len(nats), is_pseudo_likelihood, block_error=block_error(nats))


def block_error(nats: npt.NDArray[np.float32]) -> float | None:
    """The standard error of a mean over a text, whose neighboring characters are not independent: that of the means of
    up to 20 equal blocks, s / sqrt(blocks)."""
    count = min(BLOCKS, len(nats) // SHORTEST_BLOCK)
    if count < 2:
        return None
    means = nats[: len(nats) // count * count].astype(np.float64).reshape(count, -1).mean(axis=1)
    return float(means.std(ddof=1)) / math.sqrt(count)


def nats_per_character(
    model: LanguageModel, text: Text, on_progress: OnProgress = lambda _: None
) -> npt.NDArray[np.float32]:
    """-ln p of each character of a text, computed in float32: [N] in text order; documents are concatenated, each in
    the model's direction.

    A long text is split into a batch of 64 pieces, or of up to 256 with at least 8,192 characters, each with a warm-up
    of the 512 characters before it (and, for a bidirectional model, after it). Documents of similar length are batched,
    each unsplit. The result does not depend on how the model was trained; the model's mode and the random state are not
    changed. ``on_progress`` is called before each chunk with the fraction of the work that is done; an exception that
    it raises stops the scoring.
    """
    head = model.head
    return per_character(
        model, text, lambda y, targets: target_nats(y, head.weight, head.bias, targets), (), on_progress
    )


@torch.no_grad()
def per_character(
    model: LanguageModel,
    text: Text,
    statistic: Statistic,
    shape: tuple[int, ...],
    on_progress: OnProgress = lambda _: None,
) -> npt.NDArray[np.float32]:
    """``statistic(head_input [T, S, H], targets [T, S])``, of shape [T, S, *shape], for each character of a text:
    [N, *shape]. The text is processed as for :func:`nats_per_character`. Raises ValueError for an empty text."""
    if len(text) == 0:
        raise ValueError("the text has no character to score")
    batches: list[Pieces]
    if isinstance(text, Documents):
        is_reversed = False
        if text.is_running_text:
            text = cut_blocks(text, STREAMS, WARM_UP, model.direction == "backward")
        sequences = Sequences(text, model.vocabulary_size, model.direction)
        characters, batches = sequences.characters, [*document_pieces(model, sequences)]
    else:
        is_reversed = model.direction == "backward"
        characters, batches = len(text), [_Pieces(model, text[::-1] if is_reversed else text)]
    out = np.empty((characters, *shape), np.float32)
    passes = 2 if model.bidirectional else 1
    done, total = 0, passes * sum(pieces.longest for pieces in batches)

    def on_chunk(size: int) -> None:
        nonlocal done
        on_progress(done / total)
        done += size

    with eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for pieces in batches:
            _fill(out, model, pieces, statistic, on_chunk)
    return out[::-1].copy() if is_reversed else out


class Pieces(Protocol):
    """A batch of S texts; offsets are relative to the first scored character of each.

    longest           the largest number of scored characters
    ids_at(a, b)      ids at the offsets a to b, [b - a, S]; V outside of the text
    store(out, a, x)  write results x [T, S, ...] for the offsets from a on to ``out`` [N, ...]
    state_before()    the state before the first scored characters
    state_after()     the backward stack's state beyond the offset ``longest``
    """

    longest: int

    def ids_at(self, begin: int, end: int) -> Tensor: ...
    def store(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None: ...
    def state_before(self) -> State: ...
    def state_after(self) -> State: ...


def _fill(
    out: npt.NDArray[np.float32],
    model: LanguageModel,
    pieces: Pieces,
    statistic: Statistic,
    on_chunk: Callable[[int], None],
) -> None:
    backward_states = _backward_states(model, pieces, on_chunk) if model.bidirectional else {}
    state = pieces.state_before()
    chunks_per_copy = 1 if model.head.weight.device.type == "cpu" else CHUNKS_PER_COPY
    first, results = 0, list[Tensor]()
    for begin, end in _chunks(pieces):
        on_chunk(end - begin)
        window = pieces.ids_at(begin - 1, end + 1)
        y, state = model.hidden(window[:-2], state, window[2:], backward_states.get(end))
        results.append(statistic(y, window[1:-1].clamp(max=model.vocabulary_size - 1)))
        if len(results) == chunks_per_copy or end == pieces.longest:
            pieces.store(out, first, torch.cat(results).cpu().numpy())
            first, results = end, []


def _chunks(pieces: Pieces) -> Iterator[tuple[int, int]]:
    return ((a, min(a + CHUNK, pieces.longest)) for a in range(0, pieces.longest, CHUNK))


def _backward_states(model: LanguageModel, pieces: Pieces, on_chunk: Callable[[int], None]) -> dict[int, State]:
    """The backward stack's state beyond each chunk, keyed by the end of the chunk."""
    state, states = pieces.state_after(), dict[int, State]()
    for begin, end in reversed(list(_chunks(pieces))):
        on_chunk(end - begin)
        states[end] = state
        state = model.encode_backward(pieces.ids_at(begin + 1, end + 1), state)[1]
    return states


class _Pieces:
    """The text as a batch of pieces of equal length; piece b begins at N b / S, the last piece ends with the text.

    Offsets are relative to the first scored character of each piece; a piece that is one shorter overlaps the next by
    one.
    """

    def __init__(self, model: LanguageModel, ids: npt.NDArray[np.integer]) -> None:
        self.model, self.ids, self.device = model, ids, model.head.weight.device
        count = max(min(STREAMS, len(ids) // (2 * WARM_UP)), min(MAX_STREAMS, len(ids) // LONG), 1)
        bounds = [len(ids) * b // count for b in range(count + 1)]
        self.starts, self.lengths = np.array(bounds[:-1]), np.diff(bounds)
        self.longest = int(self.lengths.max())

    def ids_at(self, begin: int, end: int) -> Tensor:
        """Ids at the offsets, [end - begin, S]; V outside of the text."""
        positions = self.starts + np.arange(begin, end)[:, None]
        ids = np.take(self.ids, positions, mode="clip").astype(np.int64)
        ids[(positions < 0) | (positions >= len(self.ids))] = self.model.vocabulary_size
        return to_device(torch.from_numpy(ids), self.device)

    def store(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None:
        offsets = np.arange(begin, begin + len(values))[:, None]
        out[(self.starts + offsets)[offsets < self.lengths]] = values[offsets < self.lengths]

    def state_before(self) -> State:
        """The state before the first scored character; zero at the beginning of the text."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.encode(self.ids_at(-WARM_UP - 1, -1), state)[1]
            for part in state:
                part[:, 0] = 0
        return state

    def state_after(self) -> State:
        """The backward stack's state beyond the last scored character; zero at the end of the text."""
        state = self.model.initial_state(len(self.starts))
        if len(self.starts) > 1:
            state = self.model.encode_backward(self.ids_at(self.longest + 1, self.longest + 1 + WARM_UP), state)[1]
            for part in state:
                part[:, -1] = 0
        return state
