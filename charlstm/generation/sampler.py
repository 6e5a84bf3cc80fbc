"""Text from a language model, one character at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.incremental import IncrementalModel, make_cpp_decoder
from charlstm.generation.step_decoder import StepDecoder
from charlstm.hardware.main_memory import check_room
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Unknown, Vocabulary

COLDEST = 1e-30  # differences of logits are above 1e-8: divided by it they are beyond what makes a difference
CHARACTER_BYTES = 100  # of a character as Python keeps it, with its ln p
CHANCES_BLOCK = 4096  # random numbers drawn at a time
FIRST_BLOCK = 16  # characters written at a time at first
BLOCK_SECONDS = 0.02  # written at a time: short enough for a reader who watches


@dataclass(frozen=True)
class Sampling:
    """How the next character is drawn from the model's distribution p.

    temperature  the logits are divided by it; 0 takes the most probable character (greedy), and so does one below
                 1e-30, by which float32 cannot divide them
    top_k        only the k most probable characters (Fan, Lewis & Dauphin 2018); 0: all
    top_p        only the fewest most probable characters that together have at least this probability
                 (nucleus sampling, Holtzman et al. 2020); 1: all
    min_p        only characters with at least this share of the probability of the most probable one
                 (Nguyen et al. 2024); 0: all

    The cuts are made after the temperature, in this order. Raises UserError for values out of range.
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
        if self.temperature < COLDEST:
            object.__setattr__(self, "temperature", 0.0)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution [B, V] that is drawn from; temperature must be above 0."""
        # Less the highest, none overflows upwards: a quotient that is infinite would make the whole row NaN.
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


@dataclass(frozen=True)
class Sample:
    """One text: what was given, what was written, and ln p of each written character under the model (temperature 1).

    ``backward``: the text was written from right to left and stands before the prime. ``ids``: the whole text's ids,
    exact where bytes are no UTF-8. ``ended``: it came to ``until``; where that was left out of the text,
    ``log_probabilities`` has it all the same, at its end.
    """

    prime: str
    text: str
    log_probabilities: list[float]
    backward: bool = False
    ids: Sequence[int] = ()
    ended: bool = False

    @property
    def whole(self) -> str:
        """Given and written text, in reading order."""
        return self.text + self.prime if self.backward else self.prime + self.text


def draw(
    model: LanguageModel,
    prime: Sequence[int],
    sampling: Sampling,
    seed: int,
    num_samples: int = 1,
    length: int | None = None,
) -> Iterator[tuple[list[int], list[float]]]:
    """The next character of each text, as ids, and its ln p under the model, ``length`` times or endlessly. ``prime``
    is read first.

    The state is carried, so a character costs the same however long the text is. The same seed gives the same text, and
    no other random state is touched. Characters are written in blocks, natively on the CPU where that can be, elsewhere
    step by step.
    """
    chances = UniformDraws(seed, num_samples)
    read = torch.tensor([model.vocabulary_size, *prime])[:, None].expand(-1, num_samples)
    write = _writer(model, num_samples, sampling)
    count, written, unread = FIRST_BLOCK, 0, iter((read,))
    while length is None or written < length:
        start = time.perf_counter()
        count = count if length is None else min(count, length - written)
        ids, chosen = write(chances.take(count), next(unread, None))
        check_numbers(chosen)
        seconds = time.perf_counter() - start
        yield from zip(ids.tolist(), chosen.tolist(), strict=True)
        written += count
        if seconds < BLOCK_SECONDS / 2:
            count *= 2


def check_numbers(log_probabilities: Tensor) -> None:
    """Raises UserError if one is no number."""
    if bool(log_probabilities.isnan().any()):
        raise UserError("the model's probabilities are no numbers: its weights are too large to be used")


Write = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Chances [T, B] and what is to be read before, [N, B], to ids and ln p, [T, B]."""


def _writer(model: LanguageModel, num_samples: int, sampling: Sampling) -> Write:
    native = make_cpp_decoder(model, num_samples)
    if native is not None:
        return partial(native.write, **asdict(sampling))
    with torch.inference_mode(False):  # what is recorded writes to their tensors outside of it
        stepper = IncrementalModel(model, num_samples)
        return StepDecoder(stepper, num_samples, lambda logits, chances: choose(logits, sampling, chances)).write


class UniformDraws:
    """Random numbers, uniform in [0, 1), one for each character of each text: how many are taken at once changes
    none of them."""

    def __init__(self, seed: int, num_samples: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._rows = max(1, CHANCES_BLOCK // num_samples)
        self._left = torch.empty(0, num_samples, dtype=torch.float64)

    def take(self, count: int) -> Tensor:
        """The next ones: [count, B]."""
        while len(self._left) < count:
            size = (self._rows, self._left.shape[1])
            more = torch.rand(size, dtype=torch.float64, generator=self._generator)
            self._left = torch.cat([self._left, more])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def choose(logits: Tensor, sampling: Sampling, chances: Tensor) -> Tensor:
    """For each row of logits [B, V] the first id at which the sum of the probabilities exceeds its chance [B]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    p = sampling.probabilities(logits)
    sums = (p if p.device.type == "mps" else p.double()).cumsum(-1)  # MPS has no float64
    return (sums > chances.to(sums.device, sums.dtype)[:, None] * sums[:, -1:]).to(torch.uint8).argmax(-1)


def write(
    model: LanguageModel,
    prime: Sequence[int],
    length: int,
    sampling: Sampling,
    seed: int,
    num_samples: int = 1,
    until: Sequence[int] = (),
) -> Iterator[list[tuple[int, float] | None]]:
    """Step by step, for each text the next character and its ln p, or None once it is complete.

    A text is complete after ``length`` characters, or when it ends in the ids ``until``.
    """
    tails: list[list[int]] = [[] for _ in range(num_samples)]
    complete = [False] * num_samples
    for ids, chances in draw(model, prime, sampling, seed, num_samples, length):
        yield [None if done else (i, p) for done, i, p in zip(complete, ids, chances, strict=True)]
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
    between: Callable[[], None] = lambda: None,
    leave_out_until: bool = False,
) -> list[Sample]:
    """``num_samples`` texts of at most ``length`` characters after the prime, ending early after the text ``until``,
    which may be left out.

    A backward model writes what comes before the prime, and ends early with what begins with ``until``. ``between`` is
    called after each character; what it raises breaks the writing off.

    Raises UserError for a prime with characters that the model has never seen (``unknown="skip"`` leaves them out),
    for a bidirectional model, for values out of range, and for more text than there is main memory for.
    """
    if num_samples < 1 or length < 0:
        raise UserError(f"at least one text of 0 or more characters: found {num_samples} of {length}")
    backward = model.direction == "backward"
    given, end = prompt_ids(model, vocabulary, prime, until, unknown)
    state = sum(part.shape[0] * part.shape[-1] for part in model.initial_state(1))
    characters = 1 if end else length  # at least
    check_room(num_samples, 8 * state + 16 * model.vocabulary_size + CHARACTER_BYTES * characters)
    columns: list[list[tuple[int, float]]] = [[] for _ in range(num_samples)]
    for row in write(model, given, length, sampling or Sampling(), seed, num_samples, end):
        between()
        for column, piece in zip(columns, row, strict=True):
            if piece is not None:
                column.append(piece)
    samples = []
    step = -1 if backward else 1
    for column in columns:
        ids = [i for i, _ in column]
        ended = bool(end) and ids[-len(end) :] == end
        if ended and leave_out_until:
            ids = ids[: -len(end)]
        prime, text = vocabulary.decode(given[::step]), vocabulary.decode(ids[::step])
        samples.append(Sample(prime, text, [p for _, p in column], backward, (given + ids)[::step], ended))
    return samples


def prompt_ids(
    model: LanguageModel, vocabulary: Vocabulary, prime: str, until: str, unknown: Unknown
) -> tuple[list[int], list[int]]:
    """The ids of prime and ``until`` in the order in which the model reads. Raises UserError for unknown characters."""
    step = -1 if model.direction == "backward" else 1
    given = vocabulary.encode(prime, unknown).tolist()[::step]
    return given, vocabulary.encode(until).tolist()[::step]
