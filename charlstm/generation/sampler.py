"""Sampling text from a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.incremental import IncrementalModel, make_cpp_decoder
from charlstm.generation.samples import Sample, Samples
from charlstm.generation.step_decoder import StepDecoder
from charlstm.hardware.main_memory import check_texts_fit
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Unknown, Vocabulary

MIN_TEMPERATURE = 1e-30  # differences of logits are above 1e-8: divided by less they give the same distribution
CHARACTER_BYTES = 100  # memory per character of a Python list, with its ln p
DRAWS_BLOCK = 4096  # random numbers generated at a time
FIRST_BLOCK = 16  # characters in the first block
BLOCK_SECONDS = 0.02  # target duration of a block: short enough for live output


@dataclass(frozen=True)
class Sampling:
    """How the next character is sampled from the model's distribution p.

    temperature  divides the logits; 0 selects the most probable character (greedy), and so does a value below 1e-30, by
                 which float32 cannot divide them
    top_k        only the k most probable characters (Fan, Lewis & Dauphin 2018); 0: all
    top_p        only the fewest most probable characters that together have at least this probability
                 (nucleus sampling, Holtzman et al. 2020); 1: all
    min_p        only characters with at least this fraction of the probability of the most probable one
                 (Nguyen et al. 2024); 0: all

    The filters act after the temperature, in this order. Raises UserError for values out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature must be 0 (greedy) or more, found {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top-k must be 0 (off) or more, found {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be above 0 and at most 1 (off), found {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min-p must be from 0 (off) to 1, found {self.min_p}")
        if self.temperature < MIN_TEMPERATURE:
            object.__setattr__(self, "temperature", 0.0)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution [B, V] to sample from, not normalized; temperature must be above 0."""
        # Without subtracting the maximum, a quotient could be infinite and make the whole row NaN.
        p = torch.softmax((logits - logits.amax(-1, keepdim=True)) / self.temperature, -1)
        if self.top_k and self.top_k < p.shape[-1]:
            p = p.masked_fill(p < p.topk(self.top_k, -1).values[:, -1:], 0)
        if self.top_p < 1:
            ranked, order = p.sort(-1, descending=True)
            before = ranked.cumsum(-1) - ranked
            cut = before >= self.top_p * p.sum(-1, keepdim=True)
            p = torch.zeros_like(p).scatter(-1, order, ranked.masked_fill(cut, 0))
        if self.min_p > 0:
            p = p.masked_fill(p < self.min_p * p.amax(-1, keepdim=True), 0)
        return p


def draw(
    model: LanguageModel,
    prime: Sequence[int],
    sampling: Sampling,
    seed: int,
    num_samples: int = 1,
    length: int | None = None,
    lead_ins: LeadIns = (),
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the next character of each text, as ids, and ln p under the model, ``length`` times or endlessly.

    The model first reads ``prime``, and before it one of the ``lead_ins``, if there are any; text n of seed s gets the
    one with the number s + n, cyclically. The state is carried, so the cost per character does not depend on the
    length of the text. The same seed gives the same text; torch's random state is not changed. Characters are sampled
    in blocks, by the C++ decoder on the CPU if possible, otherwise step by step.
    """
    draws = UniformDraws(seed, num_samples)
    read = [lead_ins[(seed + n) % len(lead_ins)] if lead_ins else [] for n in range(num_samples)]
    prompt = torch.tensor([[model.vocabulary_size, *lead_in, *prime] for lead_in in read]).T.contiguous()
    decode = _make_decoder(model, num_samples, sampling)
    count, sampled, prompts = FIRST_BLOCK, 0, iter((prompt,))
    while length is None or sampled < length:
        start = time.perf_counter()
        count = count if length is None else min(count, length - sampled)
        ids, log_p = decode(draws.take(count), next(prompts, None))
        check_not_nan(log_p)
        seconds = time.perf_counter() - start
        yield from zip(ids.tolist(), log_p.tolist(), strict=True)
        sampled += count
        if seconds < BLOCK_SECONDS / 2:
            count *= 2


def check_not_nan(log_probabilities: Tensor) -> None:
    """Raises UserError if any element is NaN."""
    if bool(log_probabilities.isnan().any()):
        raise UserError(
            "the model's probabilities are NaN, because its weights are too large: use an earlier checkpoint, or train "
            "again with a lower learning_rate"
        )


LeadIns = Sequence[Sequence[int]]
"""Passages of equal length, as ids, of which the model reads one before a prompt; none: it starts from the zero state.
"""

Decode = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Uniform draws [T, B] and a prompt [N, B] or None to ids and ln p, both [T, B]."""


def _make_decoder(model: LanguageModel, num_samples: int, sampling: Sampling) -> Decode:
    cpp_decoder = make_cpp_decoder(model, num_samples)
    if cpp_decoder is not None:
        return partial(cpp_decoder.sample, **asdict(sampling))
    with torch.inference_mode(False):  # graphs write to these tensors outside of inference mode
        incremental = IncrementalModel(model, num_samples)
        return StepDecoder(incremental, num_samples, lambda logits, draws: sample_ids(logits, sampling, draws)).sample


class UniformDraws:
    """Random numbers, uniform in [0, 1), one for each character of each text, independent of how many are taken at
    once."""

    def __init__(self, seed: int, num_samples: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._rows = max(1, DRAWS_BLOCK // num_samples)
        self._remaining = torch.empty(0, num_samples, dtype=torch.float64)

    def take(self, count: int) -> Tensor:
        """The next draws, [count, B]."""
        while len(self._remaining) < count:
            size = (self._rows, self._remaining.shape[1])
            more = torch.rand(size, dtype=torch.float64, generator=self._generator)
            self._remaining = torch.cat([self._remaining, more])
        taken, self._remaining = self._remaining[:count], self._remaining[count:]
        return taken


def sample_ids(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """For each row of logits [B, V] the first id whose cumulative probability exceeds its uniform draw [B]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    p = sampling.probabilities(logits)
    sums = (p if p.device.type == "mps" else p.double()).cumsum(-1)  # MPS has no float64
    return (sums > draws.to(sums.device, sums.dtype)[:, None] * sums[:, -1:]).to(torch.uint8).argmax(-1)


def draw_until(
    model: LanguageModel,
    prime: Sequence[int],
    length: int,
    sampling: Sampling,
    seed: int,
    num_samples: int = 1,
    until: Sequence[int] = (),
    lead_ins: LeadIns = (),
) -> Iterator[list[tuple[int, float] | None]]:
    """Yield, for each text, the id of the next character and its ln p, or None once the text is complete.

    A text is complete after ``length`` characters, or when it ends in the ids ``until``.
    """
    tails: list[list[int]] = [[] for _ in range(num_samples)]
    complete = [False] * num_samples
    for ids, log_p in draw(model, prime, sampling, seed, num_samples, length, lead_ins):
        yield [None if is_complete else (i, p) for is_complete, i, p in zip(complete, ids, log_p, strict=True)]
        if until:
            for n, i in enumerate(ids):
                tails[n] = [*tails[n], i][-len(until) :]
                complete[n] = complete[n] or tails[n] == list(until)
            if all(complete):
                return


def generate(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prime: str = "",
    length: int = 400,
    sampling: Sampling | None = None,
    seed: int = 1,
    num_samples: int = 1,
    until: str = "",
    unknown: Unknown = "error",
    on_chunk: Callable[[], None] = lambda: None,
    leave_out_until: bool = False,
    lead_ins: LeadIns = (),
) -> Samples:
    """Sample ``num_samples`` texts of at most ``length`` characters after the prompt ``prime``.

    A text ends early after the text ``until``, which ``leave_out_until`` removes from it. A backward model samples the
    text before the prompt, which ends early when it begins with ``until``. ``on_chunk`` is called after each character;
    an exception that it raises stops the sampling. ``lead_ins`` are read before the prompt and are not part of the
    texts (:mod:`charlstm.text.lead_ins`).

    Raises UserError for a prompt with characters outside the vocabulary (``unknown="skip"`` drops them), for a
    bidirectional model, for values out of range, and for texts that do not fit into main memory.
    """
    if num_samples < 1 or length < 0:
        raise UserError(f"num-samples must be 1 or more and length 0 or more, found {num_samples} and {length}")
    backward = model.direction == "backward"
    prompt, end = prompt_ids(model, vocabulary, prime, until, unknown)
    state = sum(part.shape[0] * part.shape[-1] for part in model.initial_state(1))
    characters = 1 if end else length  # at least
    check_texts_fit(num_samples, 8 * state + 16 * model.vocabulary_size + CHARACTER_BYTES * characters)
    columns: list[list[tuple[int, float]]] = [[] for _ in range(num_samples)]
    for row in draw_until(model, prompt, length, sampling or Sampling(), seed, num_samples, end, lead_ins):
        on_chunk()
        for column, character in zip(columns, row, strict=True):
            if character is not None:
                column.append(character)
    samples = Samples()
    step = -1 if backward else 1
    for column in columns:
        ids = [i for i, _ in column]
        ended = bool(end) and ids[-len(end) :] == end
        if ended and leave_out_until:
            ids = ids[: -len(end)]
        prime, text = vocabulary.decode(prompt[::step]), vocabulary.decode(ids[::step])
        samples.append(Sample(prime, text, [p for _, p in column], backward, (prompt + ids)[::step], ended))
    return samples


def prompt_ids(
    model: LanguageModel, vocabulary: Vocabulary, prime: str, until: str, unknown: Unknown
) -> tuple[list[int], list[int]]:
    """The ids of ``prime`` and ``until`` in the model's direction. Raises UserError for unknown characters."""
    step = -1 if model.direction == "backward" else 1
    prompt = vocabulary.encode(prime, unknown).tolist()[::step]
    return prompt, vocabulary.encode(until).tolist()[::step]
