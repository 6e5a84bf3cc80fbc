"""State surgery: exchange a part of the state between two strings to see which part carries the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.reading import named_state, probe_mode


@dataclass(frozen=True)
class SurgeryResult:
    """Which answer is predicted after the exchange: fractions of ``count`` answers, two for each pair.

    exchanged   letters of the exchanged parts of the state; empty for the control
    original    the answer of the string itself
    swapped     the answer of the other string, the one that the parts came from
    neither     any other character
    """

    exchanged: str
    original: float
    swapped: float
    neither: float
    count: int


@torch.no_grad()
def surgery(model: LanguageModel, first: Tensor, second: Tensor, at: int, exchanged: str = "") -> SurgeryResult:
    """Exchange parts of the state of all layers between the two strings of each pair and continue.

    first, second [T + 1, N]: ids of N pairs, V for "no character"; the first T are the input, the last is the answer.
    ``at``: number of characters before the exchange. ``exchanged``: letters of the cell's state, such as ``c``, ``h``
    or, for all of it, ``hc``.

    Raises:
        ValueError: the strings differ in shape, an answer equals that of the other string, or there are no characters
            before or after the exchange.
        UserError: the cell has no such part, or the model is bidirectional.
    """
    if first.shape != second.shape or (first[-1] == second[-1]).any():
        raise ValueError("the strings of a pair must be equally long and have different answers")
    if not 0 < at < len(first) - 1:
        raise ValueError(f"the exchange must be at 1 .. {len(first) - 2}, with characters before and after, not {at}")
    letters = model.recurrent.cell.state
    if missing := "".join(letter for letter in exchanged if letter not in letters):
        raise UserError(
            f"cell {model.config.cell} has no state {missing!r} to exchange; its parts are {', '.join(letters)}"
        )
    texts, pairs = torch.cat([first, second], 1).to(model.head.weight.device), first.shape[1]
    with probe_mode(model):
        _, state = model.encode(texts[:at])
        by_letter = named_state(model, state)
        changed = (part.roll(pairs, 1) if letter in exchanged else part for letter, part in by_letter.items())
        y, _ = model.encode(texts[at:-1], (*changed, *state[len(by_letter) :]))
        predicted = model.head(y[-1]).argmax(-1)
    answers, count = texts[-1], 2 * pairs
    original, swapped = (int((predicted == expected).sum()) for expected in (answers, answers.roll(pairs)))
    return SurgeryResult(exchanged, original / count, swapped / count, (count - original - swapped) / count, count)
