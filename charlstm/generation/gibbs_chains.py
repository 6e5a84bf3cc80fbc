"""Texts some of whose places are open, under a bidirectional model: p(character at a place | all others)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model.language_model import LanguageModel


class GibbsChains:
    """B texts side by side that are open at the same N places; ``ids`` [N, B] is what stands there now, at first V.

    With F_k the forward stack's output after all characters before place k, and B_k the backward stack's after all
    behind it, p(x_k | all others) = softmax(head[F_k, B_k]). What lies outside of the first and the last place is read
    once. A sweep from left to right moves only the forward stack on, over what has just been drawn and what is fixed
    between two places: the backward outputs depend on nothing that it changes. So a draw costs one step of one stack,
    however long the text is.

    text [T, B / copies] with anything at the open ``places`` (ascending); beyond its ends there is no character (V).
    ``copies`` of each text stand next to each other.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel, text: Tensor, places: Sequence[int], copies: int = 1) -> None:
        self.model = model
        none = text.new_full((1, text.shape[1]), model.vocabulary_size)
        self._start = _copied(*model.read(torch.cat([none, text[: places[0]]])), -1, copies)
        self._end = _copied(*model.read_backward(torch.cat([text[places[-1] + 1 :], none])), 0, copies)
        self._between = [text[a + 1 : b].repeat_interleave(copies, 1) for a, b in pairwise(places)]
        self.ids = none.repeat(len(places), copies)
        self._before, self._behind = [self._start[0]] * len(places), [self._end[0]] * len(places)
        self._leftwards = True
        self.sweep()

    @torch.no_grad()
    def sweep(self, draw: Callable[[int, Tensor], Tensor] | None = None) -> None:
        """Through all places, by turns from left to right, as at first, and from right to left.

        ``draw`` makes the ids [B] of place k of k and its logits [B, V], given what was drawn before. Without it, the
        outputs of the stack that reads in this direction are brought up to date with ``ids``.
        """
        order, found, step, (y, state) = range(len(self.ids)), self._before, self._right, self._start
        if self._leftwards:
            order, found, step, (y, state) = order[::-1], self._behind, self._left, self._end
        for k in order:
            found[k] = y
            if draw is not None:
                self.ids[k] = draw(k, self.logits(k))
            if k != order[-1]:
                y, state = step(k, state)
        self._leftwards = not self._leftwards

    def _right(self, k: int, state: State) -> tuple[Tensor, State]:
        outputs, state = self.model.read(torch.cat([self.ids[k : k + 1], self._between[k]]), state)
        return outputs[-1], state

    def _left(self, k: int, state: State) -> tuple[Tensor, State]:
        outputs, state = self.model.read_backward(torch.cat([self._between[k - 1], self.ids[k : k + 1]]), state)
        return outputs[0], state

    @torch.no_grad()
    def logits(self, k: int) -> Tensor:
        """Of place k given all others as the last sweep in either direction found them: [B, V]."""
        logits: Tensor = self.model.head(torch.cat([self._before[k], self._behind[k]], -1))
        return logits

    def conditionals(self) -> Tensor:
        """ln p of every symbol at each place given all others, as they stand now: [N, B, V]."""
        self.sweep()
        self.sweep()
        return torch.stack([self.logits(k).log_softmax(-1) for k in range(len(self.ids))])


def _copied(outputs: Tensor, state: State, place: int, copies: int) -> tuple[Tensor, State]:
    return outputs[place].repeat_interleave(copies, 0), tuple(part.repeat_interleave(copies, 1) for part in state)
