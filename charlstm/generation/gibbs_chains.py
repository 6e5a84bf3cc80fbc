"""Gibbs chains over the masked positions of a text, under a bidirectional model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model.language_model import LanguageModel


class GibbsChains:
    """A batch of B texts masked at the same N positions; ``ids`` [N, B] are their current characters, initially V.

    With F_k the forward stack's output after all characters before position k, and B_k the backward stack's output
    after all characters behind it, p(x_k | all others) = softmax(head[F_k, B_k]). The text before the first and behind
    the last position is encoded once. A sweep from left to right advances only the forward stack, over the drawn
    characters and the fixed ones between two positions: the backward outputs do not depend on what it changes. So a
    draw costs one step of one stack, however long the text is.

    text [T, B / copies] with any ids at the masked ``positions`` (ascending); beyond its ends there is no character
    (V). The ``copies`` of a text are adjacent columns.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel, text: Tensor, positions: Sequence[int], copies: int = 1) -> None:
        self.model = model
        none = text.new_full((1, text.shape[1]), model.vocabulary_size)
        self._start = _repeat(*model.encode(torch.cat([none, text[: positions[0]]])), -1, copies)
        self._end = _repeat(*model.encode_backward(torch.cat([text[positions[-1] + 1 :], none])), 0, copies)
        self._segments = [text[a + 1 : b].repeat_interleave(copies, 1) for a, b in pairwise(positions)]
        self.ids = none.repeat(len(positions), copies)
        self._forward_outputs = [self._start[0]] * len(positions)
        self._backward_outputs = [self._end[0]] * len(positions)
        self._is_leftward = True
        self.sweep()

    @torch.no_grad()
    def sweep(self, draw: Callable[[int, Tensor], Tensor] | None = None) -> None:
        """Visit all positions, alternating from left to right, the first time, and from right to left.

        ``draw(k, logits)`` returns the ids [B] of position k given its logits [B, V]. Without it, only the outputs of
        the stack that runs in this direction are updated to the current ``ids``.
        """
        order, outputs, step, (y, state) = range(len(self.ids)), self._forward_outputs, self._step_right, self._start
        if self._is_leftward:
            order, outputs, step, (y, state) = order[::-1], self._backward_outputs, self._step_left, self._end
        for k in order:
            outputs[k] = y
            if draw is not None:
                self.ids[k] = draw(k, self.logits(k))
            if k != order[-1]:
                y, state = step(k, state)
        self._is_leftward = not self._is_leftward

    def _step_right(self, k: int, state: State) -> tuple[Tensor, State]:
        outputs, state = self.model.encode(torch.cat([self.ids[k : k + 1], self._segments[k]]), state)
        return outputs[-1], state

    def _step_left(self, k: int, state: State) -> tuple[Tensor, State]:
        outputs, state = self.model.encode_backward(torch.cat([self._segments[k - 1], self.ids[k : k + 1]]), state)
        return outputs[0], state

    @torch.no_grad()
    def logits(self, k: int) -> Tensor:
        """Logits [B, V] of position k given all others, as of the last sweep in each direction."""
        logits: Tensor = self.model.head(torch.cat([self._forward_outputs[k], self._backward_outputs[k]], -1))
        return logits

    def conditionals(self) -> Tensor:
        """ln p of every symbol at each position given the current characters at all others: [N, B, V]."""
        self.sweep()
        self.sweep()
        return torch.stack([self.logits(k).log_softmax(-1) for k in range(len(self.ids))])


def _repeat(outputs: Tensor, state: State, position: int, copies: int) -> tuple[Tensor, State]:
    return outputs[position].repeat_interleave(copies, 0), tuple(part.repeat_interleave(copies, 1) for part in state)
