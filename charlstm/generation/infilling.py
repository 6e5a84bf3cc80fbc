"""Gaps of a text filled from both sides, by a bidirectional model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.gibbs_chains import GibbsChains
from charlstm.generation.sampler import Sampling, UniformDraws, check_numbers, choose
from charlstm.hardware.main_memory import check_room
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.text.vocabulary import Unknown, Vocabulary
from charlstm.units import bits

SWEEPS = 40  # over all places; in gaps of eight, 20 gave fillings that were less like text, 80 hardly better ones
HOT = 1.0  # the least temperature of the first sweep; 2 and 3 were no better
PAIR = 300  # symbols up to which two open places are drawn from their exact distribution
SHOWN_GAP = 8  # characters filled anew to show what a model has learnt
TRIES = 16  # chains of which the most probable is taken at temperature 0


@dataclass(frozen=True)
class Gap:
    """A filled gap: its place in the text, counted in characters (of bytes: bytes) from 0, what was filled in, and ln p
    of each of its characters given all others of the text, filled ones too."""

    place: int
    text: str
    log_probabilities: list[float]


@dataclass(frozen=True)
class Infilled:
    """A text whose gaps are filled, as text and as ids."""

    whole: str
    ids: list[int]
    gaps: list[Gap]

    @property
    def pseudo_nats(self) -> float:
        """The mean -ln p of a filled character given all others: a pseudo-likelihood, no likelihood of the filling."""
        found = [p for gap in self.gaps for p in gap.log_probabilities]
        return -sum(found) / len(found)

    @property
    def pseudo_bits(self) -> float:
        return bits(self.pseudo_nats)


def infill(
    model: LanguageModel,
    vocabulary: Vocabulary,
    text: str,
    gap: str = "_",
    sampling: Sampling | None = None,
    seed: int = 1,
    num_samples: int = 1,
    sweeps: int = SWEEPS,
    unknown: Unknown = "error",
    between: Callable[[], None] = lambda: None,
) -> list[Infilled]:
    """``num_samples`` fillings of a text in which each sign ``gap`` stands for one character to find.

    The characters are drawn by Gibbs sampling from p(x_k | all others), over all open places by turns from left to
    right and from right to left, ``sweeps`` times; a temperature below 1 is cooled down to over the first half of them.
    The model learnt each of these distributions by itself, and no joint one need have them all: what is drawn from is
    the stationary distribution of the chain (a dependency network, Heckerman et al. 2000; of bidirectional recurrent
    networks, Berglund et al. 2015). With one open place it is drawn from exactly, with two too, if there are at most
    300 symbols; then ``sweeps`` changes nothing.

    At temperature 0 a single place takes its most probable character, a pair the most probable pair; otherwise, after
    the cooling, each place takes the mode of its distribution by turns (iterated conditional modes, Besag 1986) in 16
    chains, of which the one with the best pseudo-likelihood is taken.

    The same seed gives the same fillings and no other random state is touched. ``between`` is called before each draw;
    what it raises breaks the filling off.

    Raises UserError for a model that reads one way, a text without a gap or with characters that the model has never
    seen (``unknown="skip"`` leaves them out), and for values out of range.
    """
    if not model.bidirectional:
        raise UserError(
            f"a {model.direction} model sees one side of a gap only; train with direction: bidirectional to fill gaps"
        )
    if num_samples < 1 or sweeps < 1:
        raise UserError(f"at least one filling and one sweep: found {num_samples} and {sweeps}")
    ids = vocabulary.encode(text, unknown, gap)
    places = np.flatnonzero(ids == vocabulary.size)
    if not len(places):
        raise UserError(f"the text has no gap: write {gap!r} for each {vocabulary.unit} to fill in")
    each = len(places) * (8 * model.head.in_features + 8 * model.vocabulary_size)
    check_room(num_samples, each * (1 if sampling is None or sampling.temperature > 0 else TRIES))
    column = torch.from_numpy(ids)[:, None].to(model.head.weight.device)
    with eval_mode(model):
        found, nats = _fill(model, column, places.tolist(), sampling or Sampling(), seed, num_samples, sweeps, between)
    return [_describe(vocabulary, ids, places, a, p) for a, p in zip(found.T.numpy(), nats.T.tolist(), strict=True)]


def shown_infilling(
    model: LanguageModel,
    vocabulary: Vocabulary,
    ids: npt.NDArray[np.integer],
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> str:
    """A text ids [N] with 8 characters in its middle, or a third of it, filled anew at temperature 0.8, in brackets."""
    size = min(SHOWN_GAP, -(-len(ids) // 3))
    places = range((len(ids) - size) // 2, (len(ids) + size) // 2)
    column = torch.from_numpy(ids.astype(np.int64))[:, None].to(model.head.weight.device)
    with eval_mode(model):
        found, _ = _fill(model, column, list(places), Sampling(temperature=0.8), seed, 1, SWEEPS, between)
    before, filled, behind = (
        vocabulary.decode(part) for part in (ids[: places.start], found[:, 0].numpy(), ids[places.stop :])
    )
    return f"{before}[{filled}]{behind}"


def _fill(
    model: LanguageModel,
    text: Tensor,
    places: list[int],
    sampling: Sampling,
    seed: int,
    num_samples: int,
    sweeps: int,
    between: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Ids of the open places, [N, num_samples], and ln p of each given all others; text [T, 1]."""
    exact = len(places) == 1 or (len(places) == 2 and model.vocabulary_size <= PAIR)
    tries = 1 if exact or sampling.temperature > 0 else TRIES
    chains = GibbsChains(model, text, places, num_samples * tries)
    chances = UniformDraws(seed, num_samples * tries)
    if len(places) == 2 and exact:
        chains.ids.copy_(_pair(GibbsChains(model, text, places, model.vocabulary_size), sampling, chances))
    else:

        def draw(at: Sampling, _: int, logits: Tensor) -> Tensor:
            between()
            return choose(logits, at, chances.take(1)[0])

        for temperature in cooling(sampling.temperature, 1 if exact else sweeps):
            chains.sweep(partial(draw, replace(sampling, temperature=temperature)))
    found = chains.conditionals().gather(-1, chains.ids[..., None])[..., 0]
    check_numbers(found)
    best = found.sum(0).view(num_samples, tries).argmax(1) + tries * torch.arange(num_samples, device=found.device)
    return chains.ids[:, best].cpu(), found[:, best].cpu()


def cooling(temperature: float, sweeps: int) -> list[float]:
    """The temperature of each sweep: over the first half evenly from ``HOT`` down to the one asked for."""
    hot = max(HOT, temperature)
    cool = sweeps // 2
    return [hot + (temperature - hot) * min(1.0, k / cool) if cool else temperature for k in range(sweeps)]


def _pair(symbols: GibbsChains, sampling: Sampling, chances: UniformDraws) -> Tensor:
    """Two ids for each chance, [2, B]; ``symbols`` holds as many copies of the text as there are symbols."""
    symbols.ids.copy_(torch.arange(symbols.ids.shape[1]))
    conditionals = symbols.conditionals().cpu()
    check_numbers(conditionals)
    first, second = conditionals.double()  # Apple's GPUs have no float64
    greedy = sampling.temperature == 0
    given_second, given_first = (p.exp() if greedy else sampling.probabilities(p) for p in (first, second))
    joint = stationary(given_second, given_first).flatten()
    drawn = chances.take(1)[0]
    if greedy:
        flat = joint.argmax().expand(len(drawn))
    else:
        sums = joint.cumsum(0)
        flat = torch.searchsorted(sums, drawn * sums[-1], right=True)
    size = symbols.ids.shape[1]
    return torch.stack([flat // size, flat % size])


def stationary(given_second: Tensor, given_first: Tensor) -> Tensor:
    """p(a, b), [V, V], that Gibbs sampling ends in after it has drawn a, then b.

    given_second [V, V]: row b is proportional to p(a | b); given_first: row a to p(b | a). With the chain of a,
    P = given_first given_second, the distribution of a is what uniform becomes after 2^30 steps of P.
    """
    given_second, given_first = (p / p.sum(-1, keepdim=True) for p in (given_second, given_first))
    chain = given_first @ given_second
    for _ in range(30):
        chain = chain @ chain
        chain /= chain.sum(-1, keepdim=True)
    return chain.mean(0)[:, None] * given_first


def _describe(
    vocabulary: Vocabulary,
    ids: npt.NDArray[np.int64],
    places: npt.NDArray[np.intp],
    filled: npt.NDArray[np.int64],
    nats: list[float],
) -> Infilled:
    whole = ids.copy()
    whole[places] = filled
    bounds = [0, *(np.flatnonzero(np.diff(places) > 1) + 1).tolist(), len(places)]
    gaps = [Gap(int(places[a]), vocabulary.decode(filled[a:b]), nats[a:b]) for a, b in pairwise(bounds)]
    return Infilled(vocabulary.decode(whole), whole.tolist(), gaps)
