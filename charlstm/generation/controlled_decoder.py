"""Sampling step by step with controls that depend on the text so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.generation.controls import Controls
from charlstm.generation.mixture import Incremental
from charlstm.generation.repetition import repetition_penalties
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.text.automaton import START, Automaton


class ControlledDecoder:
    """Decodes B texts of ``length`` characters from the beginning, as a
    :class:`~charlstm.generation.step_decoder.StepDecoder` does.

    Each character waits for the one before it, since penalties and patterns are computed on the CPU. A text that has to
    match a pattern ends where it matches and the character drawn would rule out a match, or would complete ``until``:
    with the probability of all these characters together. From there on it has the id V.
    """

    def __init__(
        self,
        model: Incremental,
        batch_size: int,
        sampling: Sampling,
        controls: Controls,
        length: int,
        prime: Sequence[int] = (),
        until: Sequence[int] = (),
    ) -> None:
        self._model, self._sampling, self._controls, self._length = model, sampling, controls, length
        self._texts = np.tile(np.array(prime, np.int64), (batch_size, 1))
        self._prime_length, self._written = len(prime), 0
        self._states: list[int | None] = [START] * batch_size  # None: the text has ended
        self._until = list(until)

    def sample(self, draws: Tensor, prompt: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode ``prompt`` [N, B], required in the first call, then sample one character for each of ``draws`` [T, B].

        Returns the sampled ids and ln p under the model at temperature 1, both [T, B], on the CPU.
        """
        with torch.no_grad():
            for ids in () if prompt is None else prompt.to(self._model.device):
                self._model(ids)
            rows = [self._sample_one(row) for row in draws]
        ids, log_probabilities = zip(*rows, strict=True)
        return torch.stack(ids), torch.stack(log_probabilities)

    def _sample_one(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._model.logits.float().cpu()
        vocabulary_size, scores = logits.shape[-1], logits
        if no_repeat := self._controls.no_repeat:
            penalties = np.zeros(logits.shape, np.float32)
            for n, state in enumerate(self._states):
                if state is not None:
                    penalties[n] = repetition_penalties(self._text(n), no_repeat, vocabulary_size)
            scores = logits - torch.from_numpy(penalties)
        sampling = self._controls.sampling_at(self._sampling, self._written, self._length)
        if self._controls.automaton is None:
            ids = sample_ids(scores, sampling, draws)
        else:
            rows = zip(torch.split(scores, 1), torch.split(draws, 1), strict=True)
            ids = torch.cat([self._match(self._controls.automaton, n, *row, sampling) for n, row in enumerate(rows)])
        chosen = logits.log_softmax(-1).gather(-1, ids.clamp(max=vocabulary_size - 1)[:, None])[:, 0]
        self._append(ids)
        self._model(ids.to(self._model.device))
        return ids, chosen.masked_fill((ids == vocabulary_size) & ~chosen.isnan(), 0)

    def _append(self, ids: Tensor) -> None:
        """Append an id [B] to each text. Doubling the room needs memory for what is written, not for ``length``."""
        end = self._prime_length + self._written
        if end == self._texts.shape[1]:
            self._texts = np.pad(self._texts, ((0, 0), (0, max(16, end))))
        self._texts[:, end] = ids
        self._written += 1

    def _text(self, n: int) -> npt.NDArray[np.int64]:
        """The ids of prompt and text n so far."""
        return self._texts[n, : self._prime_length + self._written]

    def _match(self, automaton: Automaton, n: int, scores: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
        """The next id [1] of text n, from scores [1, V] and a draw [1]; V if the text ends, or has ended."""
        ended, state = torch.tensor([scores.shape[-1]]), self._states[n]
        if state is None:
            return ended
        allowed = torch.from_numpy(
            allowed_ids(automaton, state, self._text(n), self._length - self._written, self._until)
        )
        if not automaton.matches(state):
            scores = scores.masked_fill(~allowed, -torch.inf)
        ids = sample_ids(scores, sampling, draw)
        self._states[n] = automaton.after(state, int(ids)) if allowed[ids] else None
        return ids if allowed[ids] else ended


def allowed_ids(
    automaton: Automaton, state: int, text: npt.NDArray[np.int64], remaining: int, until: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """For each id [V] whether it may come next: a match with at most ``remaining`` more characters exists. Where the
    text matches already, the id that completes ``until`` may not: the text ends there."""
    allowed = automaton.allowed(state, remaining)
    begin = len(text) - len(until) + 1
    if until and automaton.matches(state) and begin >= 0 and text[begin:].tolist() == list(until[:-1]):
        allowed[until[-1]] = False
    return allowed
