"""Sampling text from a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.controlled_decoder import ControlledDecoder
from charlstm.generation.controls import NO_CONTROLS, Controls
from charlstm.generation.incremental import IncrementalModel, make_cpp_decoder
from charlstm.generation.mixture import Incremental, IncrementalMixture, Mixture, Predictor
from charlstm.generation.requests import EncodedRequest, LeadIns, TextRequest
from charlstm.generation.samples import Samples
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.generation.step_decoder import StepDecoder
from charlstm.hardware.main_memory import check_texts_fit
from charlstm.text.vocabulary import Vocabulary

CHARACTER_BYTES = 100  # memory per character of a Python list, with its ln p
DRAWS_BLOCK = 4096  # random numbers generated at a time
FIRST_BLOCK = 16  # characters in the first block
BLOCK_SECONDS = 0.02  # target duration of a block: short enough for live output


def draw(
    model: Predictor,
    prime: Sequence[int],
    sampling: Sampling,
    seed: int,
    num_samples: int = 1,
    length: int | None = None,
    lead_ins: LeadIns = (),
    controls: Controls = NO_CONTROLS,
    until: Sequence[int] = (),
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the next character of each text, as ids, and ln p under the model, ``length`` times or endlessly.

    The model first reads ``prime``, and before it one of the ``lead_ins``, if there are any; text n of seed s gets the
    one with the number s + n, cyclically. The state is carried, so the cost per character does not depend on the
    length of the text. The same seed gives the same text; torch's random state is not changed. Characters are sampled
    in blocks, by the C++ decoder on the CPU if possible, otherwise step by step.

    With ``controls``, which need a ``length``, a text that has matched its pattern continues with the id V. ``until``
    only ends such texts.
    """
    draws = UniformDraws(seed, num_samples)
    read = [lead_ins[(seed + n) % len(lead_ins)] if lead_ins else [] for n in range(num_samples)]
    beginnings = torch.tensor([[model.vocabulary_size, *lead_in] for lead_in in read])
    same = torch.tensor(prime, dtype=torch.int64).expand(num_samples, -1)
    prompt = torch.cat([beginnings, same], 1).T.contiguous()
    decode = _make_decoder(model, num_samples, sampling, controls, length, prime, until)
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


Decode = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Uniform draws [T, B] and a prompt [N, B] or None to ids and ln p, both [T, B]."""


def incremental(model: Predictor, batch_size: int) -> Incremental:
    """The model, run one character of each text at a time."""
    if isinstance(model, Mixture):
        return IncrementalMixture(model, batch_size)
    return IncrementalModel(model, batch_size)


def _make_decoder(
    model: Predictor,
    num_samples: int,
    sampling: Sampling,
    controls: Controls,
    length: int | None,
    prime: Sequence[int],
    until: Sequence[int],
) -> Decode:
    controls = controls.simplified(sampling)
    if controls != NO_CONTROLS:
        assert length is not None
        stepwise = incremental(model, num_samples)
        return ControlledDecoder(stepwise, num_samples, sampling, controls, length, prime, until).sample
    cpp_decoder = None if isinstance(model, Mixture) else make_cpp_decoder(model, num_samples)
    if cpp_decoder is not None:
        return partial(cpp_decoder.sample, **asdict(sampling))
    with torch.inference_mode(False):  # graphs write to these tensors outside of inference mode
        stepwise = incremental(model, num_samples)
        return StepDecoder(stepwise, num_samples, lambda logits, draws: sample_ids(logits, sampling, draws)).sample


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


def draw_until(
    model: Predictor, encoded: EncodedRequest, sampling: Sampling, seed: int, num_samples: int = 1
) -> Iterator[list[tuple[int, float] | None]]:
    """Yield, for each text, the id of the next character and its ln p, or None once the text is complete.

    A text is complete after ``length`` characters, or when it ends (`EncodedRequest.ends`); with a pattern, when it
    matches and ends there.
    """
    request, end = encoded.request, encoded.end
    length, lead_ins, controls = request.length, request.lead_ins, request.controls
    tails: list[list[int]] = [[] for _ in range(num_samples)]
    complete = [False] * num_samples
    for ids, log_p in draw(model, encoded.prompt, sampling, seed, num_samples, length, lead_ins, controls, end):
        if controls.automaton is not None:
            complete = [i == model.vocabulary_size for i in ids]
            if all(complete):
                return
        yield [None if is_complete else (i, p) for is_complete, i, p in zip(complete, ids, log_p, strict=True)]
        if end and controls.automaton is None:
            for n, i in enumerate(ids):
                tails[n] = [*tails[n], i][-len(end) :]
                complete[n] = complete[n] or encoded.ends(tails[n])
            if all(complete):
                return


def generate(
    model: Predictor,
    vocabulary: Vocabulary,
    request: TextRequest | None = None,
    sampling: Sampling | None = None,
    seed: int = 1,
    num_samples: int = 1,
    on_chunk: Callable[[], None] = lambda: None,
) -> Samples:
    """Sample ``num_samples`` texts of a request.

    ``on_chunk`` is called after each character; an exception that it raises stops the sampling.

    Raises UserError for a prompt with characters outside the vocabulary, for a bidirectional model, for values out of
    range, for a pattern that needs a longer text, and for texts that do not fit into main memory.
    """
    request = request or TextRequest()
    if num_samples < 1 or request.length < 0:
        raise UserError(f"num-samples must be 1 or more and length 0 or more, found {num_samples} and {request.length}")
    encoded = request.encode(model, vocabulary)
    check_memory(model, num_samples, 1 if encoded.end else request.length, len(encoded.prompt))
    columns: list[list[tuple[int, float]]] = [[] for _ in range(num_samples)]
    for row in draw_until(model, encoded, sampling or Sampling(), seed, num_samples):
        on_chunk()
        for column, character in zip(columns, row, strict=True):
            if character is not None:
                column.append(character)
    return Samples(encoded.sample([i for i, _ in column], [p for _, p in column]) for column in columns)


def check_memory(model: Predictor, texts: int, characters: int, prompt: int = 0) -> None:
    """Raises UserError if texts of this many characters, after a prompt of so many, do not fit into main memory."""
    state = sum(part.shape[0] * part.shape[-1] for part in model.initial_state(1))
    check_texts_fit(texts, 8 * state + 16 * model.vocabulary_size + CHARACTER_BYTES * characters + 16 * prompt)
