"""How many characters a model restores that were deleted from a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.gibbs_chains import GibbsChains
from charlstm.generation.sampler import Sampling, UniformDraws, choose
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode

CONTEXT = 256  # characters on either side of a gap that a model reads, if it reads that side
GAPS = 200
CHAINS = 16  # Gibbs chains a gap
SWEEPS = 30  # of each for every character of the gap, for the more there are, the slower they mix; half of them count
MOST_SWEEPS = 240
CONTINUATIONS = 128  # that a model which reads one way writes a gap
ROWS = 2048  # chains or continuations side by side
RESAMPLES = 10_000

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Restoration:
    """The shares of the deleted characters that were restored, 0 to 1, for gaps of one ``length``.

    restored       by the most probable character at each place, given the context alone
    low, high      its 95% interval: percentiles over gaps drawn anew with replacement (Efron 1979)
    greedy         by a model that reads one way and takes the most probable character one after the other; None for a
                   bidirectional model
    most_frequent  by the most frequent character of the text, everywhere
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
    between: Callable[[], None] = lambda: None,
) -> Iterator[Restoration]:
    """For each length, delete so many runs of characters from the text ids [N], one at a time, and have them guessed.

    A bidirectional model reads 256 characters on either side of a gap, a forward one those before it, a backward one
    those behind it. The guess at a place is the mode of its distribution given that context, which is estimated as the
    mean of p(x_k | the rest of the gap, context) over what the model itself draws for the rest (Rao-Blackwell): by
    Gibbs sampling, as in :func:`charlstm.generation.infill`, over the second half of 30 sweeps a character of the gap
    (240 at most) of 16 chains, or over 128 continuations. The gaps are spread over the text, at places that depend on
    its length, the length of the gaps, their number and the seed only: two models with the same text have the same
    gaps. No other random state is touched.

    ``between`` is called now and then; what it raises breaks the measurement off. Raises UserError if the text is too
    short for so many gaps, and for values out of range.
    """
    if gaps < 1 or not lengths or min(lengths) < 1:
        raise UserError(f"at least one gap of one or more characters: found {gaps} of {list(lengths)}")
    places = [_places(len(ids), length, gaps, seed) for length in lengths]
    counts = np.bincount(ids, minlength=model.vocabulary_size)
    with eval_mode(model):
        for length, begins in zip(lengths, places, strict=True):
            found, greedy = _guesses(model, ids, begins, length, seed, between)
            truth = np.stack([ids[b : b + length] for b in begins], 1)
            right = (found == truth).mean(0)
            chance = np.random.default_rng(seed)
            means = [right[chance.integers(gaps, size=gaps)].mean() for _ in range(RESAMPLES)]
            low, high = np.percentile(means, [2.5, 97.5])
            yield Restoration(
                length,
                gaps,
                float(right.mean()),
                float(low),
                float(high),
                None if greedy is None else float((greedy == truth).mean()),
                float((truth == counts.argmax()).mean()),
            )


def _places(characters: int, length: int, gaps: int, seed: int) -> npt.NDArray[np.int64]:
    """Where the gaps begin, ascending: each somewhere in its own share of the text."""
    share = (characters - 2 * CONTEXT) // gaps
    if share < length:
        least = 2 * CONTEXT + gaps * length
        raise UserError(
            f"{gaps} gaps of {length} need a text of {least:,} characters, found {characters:,}; take fewer gaps"
        )
    chance = np.random.default_rng([seed, length])
    return CONTEXT + share * np.arange(gaps) + chance.integers(share - length + 1, size=gaps)


def _guesses(
    model: LanguageModel, ids: Ids, begins: npt.NDArray[np.int64], length: int, seed: int, between: Callable[[], None]
) -> tuple[Ids, Ids | None]:
    """The guess for every place of every gap, [length, G], and the greedy one of a model that reads one way."""
    window = np.arange(-CONTEXT, length + CONTEXT)[:, None]
    copies = CHAINS if model.bidirectional else CONTINUATIONS
    together = max(1, ROWS // copies)
    found: list[Ids] = []
    greedy: list[Ids] = []
    for first in range(0, len(begins), together):
        rows = ids[begins[first : first + together] + window].astype(np.int64)
        chances = UniformDraws(seed + first, rows.shape[1] * copies)
        text = torch.from_numpy(rows).to(model.head.weight.device)
        if model.bidirectional:
            found.append(_modes(_by_gibbs(model, text, length, chances, between)))
            continue
        turn = model.direction == "backward"
        before = (text.flip(0) if turn else text)[:CONTEXT]
        for out, sampling, width in ((found, Sampling(), copies), (greedy, Sampling(temperature=0), 1)):
            modes = _modes(_by_continuing(model, before, length, width, sampling, chances, between))
            out.append(modes[::-1] if turn else modes)
    return np.concatenate(found, 1), np.concatenate(greedy, 1) if greedy else None


def _modes(marginals: Tensor) -> Ids:
    modes: Ids = marginals.argmax(-1).cpu().numpy()
    return modes


@torch.no_grad()
def _by_gibbs(
    model: LanguageModel, text: Tensor, length: int, chances: UniformDraws, between: Callable[[], None]
) -> Tensor:
    """p of every symbol at each place of the gap in the middle, [length, B, V]; text [T, B]."""
    chains = GibbsChains(model, text, range(CONTEXT, CONTEXT + length), CHAINS)
    sums = text.new_zeros(length, text.shape[1], model.vocabulary_size, dtype=torch.float32)

    def draw(k: int, logits: Tensor) -> Tensor:
        if counts:
            sums[k] += _over_copies(logits, CHAINS)
        return choose(logits, Sampling(), chances.take(1)[0])

    if length == 1:
        return chains.logits(0).softmax(-1)[None, ::CHAINS]
    sweeps = min(SWEEPS * length, MOST_SWEEPS)
    for number in range(sweeps):
        between()
        counts = number >= sweeps // 2
        chains.sweep(draw)
    return sums


@torch.no_grad()
def _by_continuing(
    model: LanguageModel,
    before: Tensor,
    length: int,
    copies: int,
    sampling: Sampling,
    chances: UniformDraws,
    between: Callable[[], None],
) -> Tensor:
    """The same from what stands before the gap alone, [T, B], over so many continuations."""
    none = before.new_full((1, before.shape[1]), model.vocabulary_size)
    y, state = model.read(torch.cat([none, before]))
    y, state = y[-1].repeat_interleave(copies, 0), tuple(part.repeat_interleave(copies, 1) for part in state)
    found = []
    for _ in range(length):
        between()
        logits = model.head(y)
        found.append(_over_copies(logits, copies))
        drawn = choose(logits, sampling, chances.take(1)[0][: len(logits)])
        outputs, state = model.read(drawn[None], state)
        y = outputs[0]
    return torch.stack(found)


def _over_copies(logits: Tensor, copies: int) -> Tensor:
    """The mean p over the copies of each text: [B, V] of [B copies, V]."""
    return logits.softmax(-1).view(-1, copies, logits.shape[1]).mean(1)
