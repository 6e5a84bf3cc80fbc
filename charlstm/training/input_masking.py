"""Masks spans of the input in training, like the gaps that a bidirectional model fills."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from charlstm.executors.transfer import to_device

MAX_SPAN = 8


def mask_spans(previous: Tensor, following: Tensor, fraction: float, mask_id: int) -> tuple[Tensor, Tensor]:
    """The characters before and after each position, both [T, B], with about this fraction of the text replaced by
    ``mask_id``: spans of 1 to 8 characters, uniformly distributed, the same for both directions.

    As spans overlap, the fraction is met approximately: 0.2 masks 0.203 of the text, 0.5 masks 0.52, 0.8 masks 0.845.
    Like the masked spans of SpanBERT (Joshi et al. 2020), but for a model that predicts one character at a time: every
    position stays a target. Draws from torch's CPU generator, wherever the text is; draws nothing for the fraction 0.
    """
    if fraction == 0:
        return previous, following
    steps, batch = previous.shape
    mean_length = (MAX_SPAN + 1) / 2
    start_probability = -math.log(1 - fraction) / mean_length
    starts = torch.rand(steps + 1 + MAX_SPAN, batch) < start_probability
    lengths = torch.randint(1, MAX_SPAN + 1, starts.shape)
    masked = torch.zeros(steps + 2, batch, dtype=torch.bool)  # index 0 is the character before the first position
    for offset in range(MAX_SPAN):
        first = MAX_SPAN - 1 - offset
        masked |= (starts & (lengths > offset))[first : first + steps + 2]
    masked = to_device(masked, previous.device)
    return previous.masked_fill(masked[:-2], mask_id), following.masked_fill(masked[2:], mask_id)
