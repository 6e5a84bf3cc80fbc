"""State surgery: two strings exchange a part of their states half way, and the answers say which part remembers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.reading import parts, undisturbed


@dataclass(frozen=True)
class Surgery:
    """Whose answer is given after the exchange: shares of ``count`` answers, two for each pair.

    exchanged   letters of the parts of the state that changed places; none is the control
    own         the answer of the string that was read
    partner     the answer of the string that the parts came from
    neither     any other character
    """

    exchanged: str
    own: float
    partner: float
    neither: float
    count: int


@torch.no_grad()
def surgery(model: LanguageModel, first: Tensor, second: Tensor, at: int, exchanged: str = "") -> Surgery:
    """Exchange parts of the state of all layers between the two strings of each pair and read on.

    first, second [T + 1, N]: ids of N pairs, V for "no character"; T are read, the last is the answer, which is given
    if it is the most probable character there. ``at``: how many are read before the exchange. ``exchanged``: letters
    of the cell's state, such as ``c``, ``h`` or, for all of it, ``hc``.

    Raises:
        ValueError: the strings are not alike in shape, an answer is that of its partner, or nothing is read before or
            after the exchange.
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
    with undisturbed(model):
        _, state = model.read(texts[:at])
        own = parts(model, state)
        changed = (part.roll(pairs, 1) if letter in exchanged else part for letter, part in own.items())
        y, _ = model.read(texts[at:-1], (*changed, *state[len(own) :]))
        given = model.head(y[-1]).argmax(-1)
    answers, count = texts[-1], 2 * pairs
    kept, followed = (int((given == wanted).sum()) for wanted in (answers, answers.roll(pairs)))
    return Surgery(exchanged, kept / count, followed / count, (count - kept - followed) / count, count)
