"""Dynamic evaluation: the score of a model that is trained on a text while it is scored on it.

The text is read in segments. Each is scored first; then the weights w move against the gradient g of its mean -ln p,
and back towards the weights w0 of the trained model (Krause, Kahembwe, Murray & Renals 2018):

    rms   w <- w - rate g / (r + EPSILON m) + min(decay r / m, 1) (w0 - w)
    sgd   w <- w - rate g + decay (w0 - w)

r is the root mean square of a weight's gradient over segments of the training text, m the mean of r over all weights.
So a text that differs from the training text, or repeats itself, becomes easier to predict; the score is not that of a
model with fixed weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.evaluation.score import Score, Text
from charlstm.executors.transfer import to_device
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.model.head_loss import mean_nats
from charlstm.text.blocks import as_documents, windows
from charlstm.text.documents import Documents, Sequences
from charlstm.text.streams import IGNORE

Rule = Literal["rms", "sgd"]
EPSILON = 0.1
"""Times the mean root mean square, added to the root mean square of each weight's gradient."""
STATISTICS, STRETCHES = 10_000, 50
"""Characters of the training text over which the root mean squares are taken, and the stretches that they are in."""
STARTS: dict[Rule, tuple[float, float]] = {"rms": (4e-4, 2.5e-3), "sgd": (0.05, 1e-3)}
"""Rate and decay from which the search starts."""
FACTORS = (2.0, 4.0)
"""Neighboring rates and decays of the search differ by these factors."""
HIGH_LOSS = 25.0
"""In nats: the mean of a segment may be a single character's, and a trained model can be 18 nats wrong."""
GAIN = 2e-4
"""Nats per character by which a neighbor must be better for the search to move on."""


class Rates(NamedTuple):
    """How fast the weights follow the text, and how fast they return to those of the trained model."""

    rate: float
    decay: float


class DynamicEvaluation:
    """Scores texts by dynamic evaluation of one model, which itself does not change.

    Args:
        training_text: the training split, from which the root mean squares of rule ``rms`` are taken; ``sgd`` needs
            none.
        segment: characters between two updates of the weights.
        on_segment: called with the number of characters of each segment that has been read.

    Raises UserError for a bidirectional model: updates would show it the characters that it is asked to predict.
    """

    def __init__(
        self,
        model: LanguageModel,
        training_text: Text | None,
        rule: Rule = "rms",
        segment: int = 20,
        on_segment: Callable[[int], None] = lambda _: None,
    ) -> None:
        if model.bidirectional:
            raise UserError("dynamic evaluation needs a model that reads in one direction, found bidirectional")
        self.rule, self._segment, self._on_segment = rule, segment, on_segment
        self._model = copy.deepcopy(model).to(model.head.weight.device)
        self._weights: list[Tensor] = [p for p in self._model.parameters() if p.requires_grad]
        self._trained = [p.detach().clone() for p in self._weights]
        self._rms = list[Tensor]()
        if rule == "rms":
            if training_text is None:
                raise ValueError("the rule rms needs the training text")
            self._rms = self._root_mean_squares(training_text)

    def score(self, text: Text, rates: Rates) -> Score:
        """The score of a text that is read once from its beginning, with the weights of the trained model at first.

        Raises UserError if the weights diverge.
        """
        if len(text) == 0:
            raise ValueError("the text has no character to score")
        steps, returns = self._factors(rates)
        self._reset()
        bound = max(HIGH_LOSS, 3 * math.log(self._model.vocabulary_size) + 10)
        total, characters = 0.0, 0
        for nats, count, gradients in self._read(text):
            if not nats <= bound:
                raise UserError(
                    f"the weights diverged after {characters:,} characters at rate {rates.rate:g} and decay "
                    f"{rates.decay:g}: choose a lower rate"
                )
            total, characters = total + nats * count, characters + count
            with torch.no_grad():
                torch._foreach_lerp_(self._weights, self._trained, returns)
                torch._foreach_addcmul_(self._weights, gradients, steps, value=-1)
        return Score(total / characters, characters)

    def tune(self, text: Text) -> Rates:
        """The rates with the best score on a text, by a search on a grid that ends where no neighbor is better.

        Rates with which the weights diverge count as infinitely bad.
        """
        scores = dict[tuple[int, int], float]()

        def rates(at: tuple[int, int]) -> Rates:
            return Rates(*(start * factor**n for start, factor, n in zip(STARTS[self.rule], FACTORS, at, strict=True)))

        def nats(at: tuple[int, int]) -> float:
            if at not in scores:
                try:
                    scores[at] = self.score(text, rates(at)).nats
                except UserError:
                    scores[at] = math.inf
            return scores[at]

        best = (0, 0)
        while True:
            i, j = best
            nearest = min(((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)), key=nats)
            if not nats(nearest) < nats(best) - GAIN:
                return rates(best)
            best = nearest

    def _factors(self, rates: Rates) -> tuple[list[Tensor], list[Tensor]]:
        """For each weight, what multiplies its gradient, and what multiplies its distance to the trained weight."""
        if self.rule == "sgd":
            return (
                [torch.full_like(w, rates.rate) for w in self._weights],
                [torch.full_like(w, min(rates.decay, 1.0)) for w in self._weights],
            )
        mean = sum(float(r.sum()) for r in self._rms) / sum(r.numel() for r in self._rms)
        return (
            [rates.rate / (r + EPSILON * mean) for r in self._rms],
            [(r * (rates.decay / mean)).clamp(max=1.0) for r in self._rms],
        )

    def _root_mean_squares(self, text: Text) -> list[Tensor]:
        squares, count = [torch.zeros_like(w) for w in self._weights], 0
        for _, _, gradients in self._read(_stretches(text), longest=STATISTICS // STRETCHES):
            torch._foreach_addcmul_(squares, gradients, gradients)
            count += 1
        return [(square / count).sqrt() for square in squares]

    def _reset(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._trained)

    def _read(self, text: Text, longest: int | None = None) -> Iterator[tuple[float, int, list[Tensor]]]:
        """For each segment its mean -ln p in nats, the number of characters that count, and the gradient of the mean
        with respect to the weights, which may be changed before the next segment is read. Of a document of which all
        characters count, no segment is read that begins after ``longest`` characters."""
        model, head = self._model, self._model.head
        with eval_mode(model), torch.autocast(head.weight.device.type, enabled=False):
            zeros = state = model.initial_state(1)
            for is_first, window, counted in _segments(text, model, self._segment, longest):
                ids = to_device(torch.from_numpy(window), head.weight.device)
                y, state = model.hidden(ids[:-1], zeros if is_first else state)
                state = tuple(part.detach() for part in state)
                count = int(counted.sum())
                if count:
                    targets = ids[1:].masked_fill(to_device(torch.from_numpy(~counted), ids.device), IGNORE)
                    nats = mean_nats(y, head.weight, head.bias, targets, IGNORE)
                    gradients = torch.autograd.grad(nats, self._weights, materialize_grads=True)
                    yield float(nats.detach()), count, list(gradients)
                self._on_segment(len(window) - 1)


def _segments(
    text: Text, model: LanguageModel, length: int, longest: int | None
) -> Iterator[tuple[bool, npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """The documents of a text one after another, in the model's direction, in segments: whether one begins a document,
    its ids [T + 1, 1] from the character before it on, and which of its characters count [T, 1]."""
    sequences = Sequences(as_documents(text), model.vocabulary_size, model.direction)
    limit = longest if sequences.documents.scored is None else None
    for number, size in enumerate(sequences.lengths.tolist()):
        which = np.array([number])
        for begin in range(0, size if limit is None else min(size, limit), length):
            end = min(begin + length, size)
            yield begin == 0, sequences.window(which, begin - 1, end), sequences.counted(which, begin, end)


def _stretches(text: Text) -> Documents:
    """Evenly spread stretches of a running text, or documents: about STATISTICS characters together, or as many
    documents as there are stretches."""
    parts = as_documents(text)
    if parts.is_running_text:
        parts = windows(parts, STATISTICS // STRETCHES)
    characters = int((parts.ends - parts.starts).sum())
    count = max(STRETCHES, STATISTICS * len(parts) // characters)
    return parts.select(np.unique(np.linspace(0, len(parts) - 1, min(count, len(parts))).round().astype(np.int64)))
