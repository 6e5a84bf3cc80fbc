"""The fraction of deleted characters of a text that a model restores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.gibbs_chains import GibbsChains
from charlstm.generation.sampler import UniformDraws
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.text.statistics import symbol_counts

CONTEXT = 256  # characters of context on each side of a gap that the model uses
GAPS = 200
CHAINS = 16  # Gibbs chains a gap
SWEEPS = 30  # of each chain per character of the gap, since long gaps mix slowly; the second half counts
MAX_SWEEPS = 240
CONTINUATIONS = 128  # that a unidirectional model samples per gap
BATCH = 2048  # chains or continuations per batch
RESAMPLES = 10_000

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Restoration:
    """The fractions of deleted characters that were restored, 0 to 1, for gaps of one ``length``.

    restored       by the most probable character at each position, given the context alone
    low, high      its 95% interval: percentiles over gaps resampled with replacement (Efron 1979)
    greedy         by greedy decoding with a unidirectional model; None for a bidirectional model
    most_frequent  by always guessing the most frequent character of the text
    """

    length: int
    gaps: int
    restored: float
    low: float
    high: float
    greedy: float | None
    most_frequent: float


def restore(
    model: LanguageModel,
    ids: Ids,
    lengths: Sequence[int],
    gaps: int = GAPS,
    seed: int = 1,
    on_chunk: Callable[[], None] = lambda: None,
) -> Iterator[Restoration]:
    """For each length, guess ``gaps`` runs of characters deleted one at a time from the text ids [N].

    A bidirectional model gets 256 characters on each side of a gap, a forward model those before it, a backward model
    those behind it. The guess at a position is the mode of its distribution given that context, which is estimated as
    the mean of p(x_k | rest of the gap, context) over the model's samples of the rest (Rao-Blackwell): by Gibbs
    sampling, as in :func:`charlstm.generation.infill`, over the second half of 30 sweeps per character of the gap (at
    most 240) of 16 chains, or over 128 continuations. The gaps are spread over the text and depend only on its length,
    the length of the gaps, their number and the seed: two models get the same gaps of the same text. Torch's random
    state is not changed.

    ``on_chunk`` is called regularly; an exception that it raises stops the measurement. Raises UserError if the text is
    too short for the gaps, and for values out of range.
    """
    if gaps < 1 or not lengths or min(lengths) < 1:
        raise UserError(f"gaps and their lengths must be 1 or more, found {gaps} gaps of lengths {list(lengths)}")
    gap_starts = [_gap_starts(len(ids), length, gaps, seed) for length in lengths]
    most_frequent = symbol_counts(ids, model.vocabulary_size).argmax()
    with eval_mode(model):
        for length, starts in zip(lengths, gap_starts, strict=True):
            guesses, greedy = _guesses(model, ids, starts, length, seed, on_chunk)
            truth = np.stack([ids[b : b + length] for b in starts], 1)
            accuracy = (guesses == truth).mean(0)
            generator = np.random.default_rng(seed)
            means = [accuracy[generator.integers(gaps, size=gaps)].mean() for _ in range(RESAMPLES)]
            low, high = np.percentile(means, [2.5, 97.5])
            yield Restoration(
                length,
                gaps,
                float(accuracy.mean()),
                float(low),
                float(high),
                None if greedy is None else float((greedy == truth).mean()),
                float((truth == most_frequent).mean()),
            )


def _gap_starts(characters: int, length: int, gaps: int, seed: int) -> npt.NDArray[np.int64]:
    """The start positions of the gaps, ascending: each is random within an equal part of the text."""
    spacing = (characters - 2 * CONTEXT) // gaps
    if spacing < length:
        minimum = 2 * CONTEXT + gaps * length
        raise UserError(
            f"{gaps} gaps of {length} need a text of {minimum:,} characters, found {characters:,}; take fewer gaps"
        )
    generator = np.random.default_rng([seed, length])
    return CONTEXT + spacing * np.arange(gaps) + generator.integers(spacing - length + 1, size=gaps)


def _guesses(
    model: LanguageModel, ids: Ids, starts: npt.NDArray[np.int64], length: int, seed: int, on_chunk: Callable[[], None]
) -> tuple[Ids, Ids | None]:
    """The guess for every position of every gap, [length, G], and the greedy guess of a unidirectional model."""
    window = np.arange(-CONTEXT, length + CONTEXT)[:, None]
    copies = CHAINS if model.bidirectional else CONTINUATIONS
    texts_per_batch = max(1, BATCH // copies)
    guesses: list[Ids] = []
    greedy: list[Ids] = []
    for first in range(0, len(starts), texts_per_batch):
        rows = ids[starts[first : first + texts_per_batch] + window].astype(np.int64)
        draws = UniformDraws(seed + first, rows.shape[1] * copies)
        text = torch.from_numpy(rows).to(model.head.weight.device)
        if model.bidirectional:
            guesses.append(_modes(_gibbs_marginals(model, text, length, draws, on_chunk)))
            continue
        is_backward = model.direction == "backward"
        before = (text.flip(0) if is_backward else text)[:CONTEXT]
        for out, sampling, width in ((guesses, Sampling(), copies), (greedy, Sampling(temperature=0), 1)):
            modes = _modes(_continuation_marginals(model, before, length, width, sampling, draws, on_chunk))
            out.append(modes[::-1] if is_backward else modes)
    return np.concatenate(guesses, 1), np.concatenate(greedy, 1) if greedy else None


def _modes(marginals: Tensor) -> Ids:
    modes: Ids = marginals.argmax(-1).cpu().numpy()
    return modes


@torch.no_grad()
def _gibbs_marginals(
    model: LanguageModel, text: Tensor, length: int, draws: UniformDraws, on_chunk: Callable[[], None]
) -> Tensor:
    """p of every symbol at each position of the gap in the middle, [length, B, V]; text [T, B]."""
    chains = GibbsChains(model, text, range(CONTEXT, CONTEXT + length), CHAINS)
    sums = text.new_zeros(length, text.shape[1], model.vocabulary_size, dtype=torch.float32)

    def draw(k: int, logits: Tensor) -> Tensor:
        if counts:
            sums[k] += _mean_over_copies(logits, CHAINS)
        return sample_ids(logits, Sampling(), draws.take(1)[0])

    if length == 1:
        return chains.logits(0).softmax(-1)[None, ::CHAINS]
    sweeps = min(SWEEPS * length, MAX_SWEEPS)
    for number in range(sweeps):
        on_chunk()
        counts = number >= sweeps // 2
        chains.sweep(draw)
    return sums


@torch.no_grad()
def _continuation_marginals(
    model: LanguageModel,
    before: Tensor,
    length: int,
    copies: int,
    sampling: Sampling,
    draws: UniformDraws,
    on_chunk: Callable[[], None],
) -> Tensor:
    """The same from the context ``before`` [T, B] alone, over ``copies`` continuations."""
    none = before.new_full((1, before.shape[1]), model.vocabulary_size)
    y, state = model.encode(torch.cat([none, before]))
    y, state = y[-1].repeat_interleave(copies, 0), tuple(part.repeat_interleave(copies, 1) for part in state)
    marginals = []
    for _ in range(length):
        on_chunk()
        logits = model.head(y)
        marginals.append(_mean_over_copies(logits, copies))
        ids = sample_ids(logits, sampling, draws.take(1)[0][: len(logits)])
        outputs, state = model.encode(ids[None], state)
        y = outputs[0]
    return torch.stack(marginals)


def _mean_over_copies(logits: Tensor, copies: int) -> Tensor:
    """p averaged over the copies of each text: [B copies, V] to [B, V]."""
    return logits.softmax(-1).view(-1, copies, logits.shape[1]).mean(1)
