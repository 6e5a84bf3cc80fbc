"""Characters hidden from a network in training, in runs, as the gaps are that it will have to fill."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from charlstm.executors.transfer import to_device

LONGEST = 8


def mask_spans(previous: Tensor, following: Tensor, share: float, nothing: int) -> tuple[Tensor, Tensor]:
    """The characters before and after each position, both [T, B], with about this share of the text replaced by the id
    ``nothing``: runs of 1 to 8 characters, all lengths equally often, hidden from both sides alike.

    As masked spans are (Joshi et al. 2020, "SpanBERT"), but for a model that gives p of one character at a time: every
    position stays a target. Draws from torch's random state on the CPU, wherever the text is, and nothing at all for
    the share 0.
    """
    if share == 0:
        return previous, following
    steps, batch = previous.shape
    starts = -math.log(1 - share) / ((LONGEST + 1) / 2)  # runs that begin at a place: a place is in so many on average
    begins = torch.rand(steps + 1 + LONGEST, batch) < starts
    lengths = torch.randint(1, LONGEST + 1, begins.shape)
    hidden = torch.zeros(steps + 2, batch, dtype=torch.bool)  # place 0 is the character before the first position
    for offset in range(LONGEST):
        first = LONGEST - 1 - offset
        hidden |= (begins & (lengths > offset))[first : first + steps + 2]
    hidden = to_device(hidden, previous.device)
    return previous.masked_fill(hidden[:-2], nothing), following.masked_fill(hidden[2:], nothing)
