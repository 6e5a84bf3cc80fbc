"""Beam search: the most probable texts that a search of limited width finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.generation.controlled_decoder import allowed_ids
from charlstm.generation.mixture import Incremental, Predictor
from charlstm.generation.repetition import repetition_penalties
from charlstm.generation.requests import EncodedRequest, TextRequest
from charlstm.generation.sampler import check_memory, check_not_nan, incremental
from charlstm.generation.samples import Samples
from charlstm.text.automaton import START
from charlstm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Hypothesis:
    """A text as far as it is written: its ids, ln p of each, and what it ranks by: the sum of ln p, less the penalties.

    ``state`` is that of the pattern. A text that has ended has ``length`` decisions: its characters, and the end.
    """

    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    total: float = 0.0
    state: int = START
    length: int = 0

    @property
    def score(self) -> float:
        """The mean of ln p, less penalties, over all decisions."""
        return self.total / max(self.length, 1)


def beam_search(
    model: Predictor,
    vocabulary: Vocabulary,
    request: TextRequest | None = None,
    width: int = 8,
    count: int = 1,
    on_chunk: Callable[[], None] = lambda: None,
) -> Samples:
    """The ``count`` best texts of a request that a beam search of ``width`` finds, best first.

    At each step, every one of the ``width`` texts is continued by each character, and the ``width`` most probable of
    the results remain. Texts that end, with ``until`` or where they match a pattern and the model ends them, are set
    apart; they come before those that are cut off after ``length`` characters. The search stops once no other text can
    have a better score, which is normalized by length:

        score = (1 / n) sum_k ln p(c_k | prompt, c_1 ... c_(k-1)),  n characters, the end included

    The penalty of the request's ``controls`` for repetition is subtracted from each ln p. The model reads the first of
    its ``lead_ins``. ``on_chunk`` is as for :func:`charlstm.generation.generate`. No random numbers are used.

    Raises UserError as :func:`~charlstm.generation.generate` does, and for a count that is larger than the width.
    """
    request = request or TextRequest()
    length, controls = request.length, request.controls
    if width < 1 or not 1 <= count <= width or length < 0:
        raise UserError(
            f"the beam must be 1 or wider, the number of texts from 1 to its width, and length 0 or more, found "
            f"{width}, {count} and {length}"
        )
    if controls.final_temperature is not None:
        raise UserError("a beam search has no temperature")
    encoded = request.encode(model, vocabulary)
    check_memory(model, width, length)
    lead_in = request.lead_ins[0] if request.lead_ins else ()
    search = _Search(incremental(model, width), width, count, encoded)
    with torch.no_grad():
        for _ in search.run([model.vocabulary_size, *lead_in, *encoded.prompt]):
            on_chunk()
    return Samples(encoded.sample(h.ids, h.log_probabilities) for h in search.best())


class _Search:
    """A beam search in progress: the texts that are open, best first, and the best of those that have ended."""

    def __init__(self, model: Incremental, width: int, count: int, encoded: EncodedRequest) -> None:
        self._model, self._width, self._count = model, width, count
        self._encoded, self._prime, self._until = encoded, encoded.prompt, tuple(encoded.end)
        self._length, self._controls = encoded.request.length, encoded.request.controls
        self._open, self._ended = [Hypothesis()], list[Hypothesis]()

    def run(self, prompt: Sequence[int]) -> Iterator[None]:
        """Encode the prompt, then yield after each character."""
        for i in prompt:
            self._model(torch.full((self._width,), i, device=self._model.device))
        for written in range(self._length):
            rows, self._open = self._extend(self._length - written)
            yield
            if self._is_complete() or written == self._length - 1:
                break
            padding = [0] * (self._width - len(rows))
            order = torch.tensor(rows + padding, device=self._model.device)
            self._model.state = tuple(part.index_select(1, order) for part in self._model.state)
            last = [hypothesis.ids[-1] for hypothesis in self._open]
            self._model(torch.tensor(last + padding, device=self._model.device))

    def best(self) -> list[Hypothesis]:
        """The best texts: those that have ended, then those that were cut off."""
        ended = self._ended
        if self._controls.automaton is not None:  # what is open after the last character matches, too
            ended = _ranked([*ended, *(h for h in self._open if len(h.ids) == self._length)])
            return ended[: self._count]
        return [*ended, *_ranked(self._open)][: self._count]

    def _is_complete(self) -> bool:
        """Whether no text that is open can become one of the best: its sum of ln p can only fall."""
        if not self._open or len(self._ended) < self._count:
            return not self._open
        decisions = self._length + (self._controls.automaton is not None)
        return self._ended[-1].score >= max(h.total for h in self._open) / decisions

    def _extend(self, remaining: int) -> tuple[list[int], list[Hypothesis]]:
        """The best texts with one more character, each with the row of the text that it continues."""
        log_p = self._model.logits[: len(self._open)].float().cpu().log_softmax(-1)
        check_not_nan(log_p)
        totals = torch.stack([self._totals(h, row, remaining) for h, row in zip(self._open, log_p, strict=True)])
        best = totals.flatten().topk(min(2 * self._width, totals.numel()))  # half of them may end
        rows, hypotheses = list[int](), list[Hypothesis]()
        for total, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row, i = divmod(index, totals.shape[1])
            if total == -math.inf or len(rows) == self._width:
                break
            before = self._open[row]
            automaton = self._controls.automaton
            state = before.state if automaton is None else automaton.after(before.state, i)
            ids, log_probabilities = (*before.ids, i), (*before.log_probabilities, float(log_p[row, i]))
            hypothesis = Hypothesis(ids, log_probabilities, total, state, before.length + 1)
            if automaton is None and self._encoded.ends(ids):
                self._end(hypothesis)
            else:
                rows.append(row)
                hypotheses.append(hypothesis)
        return rows, hypotheses

    def _totals(self, hypothesis: Hypothesis, log_p: Tensor, remaining: int) -> Tensor:
        """What a text ranks by if it is continued by each id [V], from ln p [V]. Records it if it may end here."""
        scores, is_used = log_p.double(), self._controls.no_repeat or self._controls.automaton is not None
        text = np.array([*self._prime, *hypothesis.ids] if is_used else [], np.int64)
        if self._controls.no_repeat:
            scores = scores - torch.from_numpy(repetition_penalties(text, self._controls.no_repeat, len(log_p)))
        automaton = self._controls.automaton
        if automaton is not None:
            allowed = torch.from_numpy(allowed_ids(automaton, hypothesis.state, text, remaining, self._until))
            if automaton.matches(hypothesis.state):
                p_end = float(log_p.double().exp()[~allowed].sum())
                if not allowed.any():
                    self._end(hypothesis)
                elif p_end > 0:
                    total = hypothesis.total + math.log(p_end)
                    self._end(replace(hypothesis, total=total, length=hypothesis.length + 1))
            scores = scores.masked_fill(~allowed, -math.inf)
        return hypothesis.total + scores

    def _end(self, hypothesis: Hypothesis) -> None:
        self._ended = _ranked([*self._ended, hypothesis])[: self._count]


def _ranked(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)
