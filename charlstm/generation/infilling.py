"""Filling the gaps of a text with a bidirectional model."""

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
from charlstm.generation.sampler import UniformDraws, check_not_nan
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.hardware.main_memory import check_texts_fit
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.text.vocabulary import Unknown, Vocabulary
from charlstm.units import bits

SWEEPS = 40  # over all positions; in gaps of eight, 20 gave fillings less like text, 80 hardly better ones
PREVIEW_SWEEPS = SWEEPS
START_TEMPERATURE = 1.0  # minimum temperature of the first sweep; 2 and 3 were not better
MAX_PAIR_SYMBOLS = 300  # vocabulary size up to which two masked positions are drawn from their exact distribution
PREVIEW_GAP = 8  # characters that a preview masks and fills
GREEDY_CHAINS = 16  # chains at temperature 0, of which the most probable filling is returned


@dataclass(frozen=True)
class Gap:
    """A filled gap: its position in the text, in characters (or bytes) from 0, the filled-in text, and ln p of each of
    its characters given all others of the text, filled ones included."""

    position: int
    text: str
    log_probabilities: list[float]


@dataclass(frozen=True)
class Infilled:
    """A text whose gaps are filled, as text and as ids."""

    full_text: str
    ids: list[int]
    gaps: list[Gap]

    @property
    def pseudo_nats(self) -> float:
        """Mean -ln p per filled character given all others: a pseudo-likelihood, not a likelihood of the filling."""
        log_p = [p for gap in self.gaps for p in gap.log_probabilities]
        return -sum(log_p) / len(log_p)

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
    on_chunk: Callable[[], None] = lambda: None,
) -> list[Infilled]:
    """``num_samples`` fillings of a text in which each character ``gap`` masks one character.

    The characters are drawn by Gibbs sampling from p(x_k | all others), over all masked positions, alternating from
    left to right and from right to left, ``sweeps`` times; a temperature below 1 is reached by cooling over the first
    half. The model learned each of these distributions separately, and they need not have a common joint distribution:
    the fillings are drawn from the stationary distribution of the chain (a dependency network, Heckerman et al. 2000;
    of bidirectional recurrent networks, Berglund et al. 2015). One masked position is drawn exactly, and so are two if
    there are at most 300 symbols; then ``sweeps`` has no effect.

    At temperature 0 a single position gets its most probable character, a pair the most probable pair; otherwise, after
    the cooling, each position in turn gets the mode of its distribution (iterated conditional modes, Besag 1986) in 16
    chains, of which the one with the best pseudo-likelihood is returned.

    The same seed gives the same fillings; torch's random state is not changed. ``on_chunk`` is called before each draw;
    an exception that it raises stops the filling.

    Raises UserError for a unidirectional model, a text without a gap or with characters outside the vocabulary
    (``unknown="skip"`` drops them), and values out of range.
    """
    if not model.bidirectional:
        raise UserError(
            f"a {model.direction} model sees only one side of a gap: train with direction: bidirectional to fill gaps"
        )
    if num_samples < 1 or sweeps < 1:
        raise UserError(f"num-samples and sweeps must be 1 or more, found {num_samples} and {sweeps}")
    ids = vocabulary.encode(text, unknown, gap)
    positions = np.flatnonzero(ids == vocabulary.size)
    if not len(positions):
        raise UserError(f"the text has no gap: write {gap!r} for each {vocabulary.unit} to fill in")
    bytes_per_filling = len(positions) * (8 * model.head.in_features + 8 * model.vocabulary_size)
    check_texts_fit(
        num_samples, bytes_per_filling * (1 if sampling is None or sampling.temperature > 0 else GREEDY_CHAINS)
    )
    column = torch.from_numpy(ids)[:, None].to(model.head.weight.device)
    with eval_mode(model):
        filled, log_p = _fill(
            model, column, positions.tolist(), sampling or Sampling(), seed, num_samples, sweeps, on_chunk
        )
    return [
        _describe(vocabulary, ids, positions, a, p) for a, p in zip(filled.T.numpy(), log_p.T.tolist(), strict=True)
    ]


def preview_infilling(
    model: LanguageModel,
    vocabulary: Vocabulary,
    ids: npt.NDArray[np.integer],
    seed: int,
    on_chunk: Callable[[], None] = lambda: None,
) -> str:
    """A text ids [N] with up to 8 characters, at most a third, in its middle masked and filled at temperature 0.8, in
    brackets."""
    size = min(PREVIEW_GAP, -(-len(ids) // 3))
    positions = range((len(ids) - size) // 2, (len(ids) + size) // 2)
    column = torch.from_numpy(ids.astype(np.int64))[:, None].to(model.head.weight.device)
    with eval_mode(model):
        filled_ids, _ = _fill(
            model, column, list(positions), Sampling(temperature=0.8), seed, 1, PREVIEW_SWEEPS, on_chunk
        )
    before, filled, after = (
        vocabulary.decode(part) for part in (ids[: positions.start], filled_ids[:, 0].numpy(), ids[positions.stop :])
    )
    return f"{before}[{filled}]{after}"


def _fill(
    model: LanguageModel,
    text: Tensor,
    positions: list[int],
    sampling: Sampling,
    seed: int,
    num_samples: int,
    sweeps: int,
    on_chunk: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Ids of the masked positions, [N, num_samples], and ln p of each given all others; text [T, 1]."""
    is_exact = len(positions) == 1 or (len(positions) == 2 and model.vocabulary_size <= MAX_PAIR_SYMBOLS)
    chains_per_filling = 1 if is_exact or sampling.temperature > 0 else GREEDY_CHAINS
    chains = GibbsChains(model, text, positions, num_samples * chains_per_filling)
    draws = UniformDraws(seed, num_samples * chains_per_filling)
    if len(positions) == 2 and is_exact:
        chains.ids.copy_(_pair(GibbsChains(model, text, positions, model.vocabulary_size), sampling, draws))
    else:

        def draw(settings: Sampling, _: int, logits: Tensor) -> Tensor:
            on_chunk()
            return sample_ids(logits, settings, draws.take(1)[0])

        for temperature in cooling(sampling.temperature, 1 if is_exact else sweeps):
            chains.sweep(partial(draw, replace(sampling, temperature=temperature)))
    log_p = chains.conditionals().gather(-1, chains.ids[..., None])[..., 0]
    check_not_nan(log_p)
    best = log_p.sum(0).view(num_samples, chains_per_filling).argmax(1) + chains_per_filling * torch.arange(
        num_samples, device=log_p.device
    )
    return chains.ids[:, best].cpu(), log_p[:, best].cpu()


def cooling(temperature: float, sweeps: int) -> list[float]:
    """The temperature of each sweep: linear over the first half from ``START_TEMPERATURE`` to ``temperature``."""
    start = max(START_TEMPERATURE, temperature)
    cooling_sweeps = sweeps // 2
    return [
        start + (temperature - start) * min(1.0, k / cooling_sweeps) if cooling_sweeps else temperature
        for k in range(sweeps)
    ]


def _pair(symbols: GibbsChains, sampling: Sampling, draws: UniformDraws) -> Tensor:
    """Two ids for each uniform draw, [2, B]; ``symbols`` holds one copy of the text for each symbol."""
    symbols.ids.copy_(torch.arange(symbols.ids.shape[1]))
    conditionals = symbols.conditionals().cpu()
    check_not_nan(conditionals)
    first, second = conditionals.double()  # Apple's GPUs have no float64
    greedy = sampling.temperature == 0
    given_second, given_first = (p.exp() if greedy else sampling.probabilities(p) for p in (first, second))
    joint = stationary(given_second, given_first).flatten()
    uniform = draws.take(1)[0]
    if greedy:
        flat = joint.argmax().expand(len(uniform))
    else:
        sums = joint.cumsum(0)
        flat = torch.searchsorted(sums, uniform * sums[-1], right=True)
    size = symbols.ids.shape[1]
    return torch.stack([flat // size, flat % size])


def stationary(given_second: Tensor, given_first: Tensor) -> Tensor:
    """The stationary distribution p(a, b), [V, V], of Gibbs sampling that draws a, then b.

    given_second [V, V]: row b is proportional to p(a | b); given_first: row a to p(b | a). With the chain of a,
    P = given_first given_second, the distribution of a is uniform after 2^30 steps of P.
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
    positions: npt.NDArray[np.intp],
    filled: npt.NDArray[np.int64],
    log_p: list[float],
) -> Infilled:
    complete = ids.copy()
    complete[positions] = filled
    bounds = [0, *(np.flatnonzero(np.diff(positions) > 1) + 1).tolist(), len(positions)]
    gaps = [Gap(int(positions[a]), vocabulary.decode(filled[a:b]), log_p[a:b]) for a, b in pairwise(bounds)]
    return Infilled(vocabulary.decode(complete), complete.tolist(), gaps)
