"""How a character is sampled from the model's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.errors import UserError

MIN_TEMPERATURE = 1e-30  # differences of logits are above 1e-8: divided by less they give the same distribution


@dataclass(frozen=True)
class Sampling:
    """How the next character is sampled from the model's distribution p.

    temperature  divides the logits; 0 selects the most probable character (greedy), and so does a value below 1e-30, by
                 which float32 cannot divide them
    top_k        only the k most probable characters (Fan, Lewis & Dauphin 2018); 0: all
    top_p        only the fewest most probable characters that together have at least this probability
                 (nucleus sampling, Holtzman et al. 2020); 1: all
    min_p        only characters with at least this fraction of the probability of the most probable one
                 (Nguyen et al. 2024); 0: all

    The filters act after the temperature, in this order. The logits decide which character is more probable, since a
    high temperature can make their probabilities equal in float32. Of equal logits at the limit of top_k all are kept,
    of those at the limit of top_p the first. Raises UserError for values out of range.
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
        if self.temperature < MIN_TEMPERATURE:
            object.__setattr__(self, "temperature", 0.0)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution [B, V] to sample from, not normalized; temperature must be above 0."""
        # Without subtracting the maximum, a quotient could be infinite and make the whole row NaN.
        p = torch.softmax((logits - logits.amax(-1, keepdim=True)) / self.temperature, -1)
        if self.top_k and self.top_k < p.shape[-1]:
            p = p.masked_fill(logits < logits.topk(self.top_k, -1).values[:, -1:], 0)
        if self.top_p < 1:
            order = logits.sort(dim=-1, descending=True, stable=True).indices
            ranked = p.gather(-1, order)
            before = ranked.cumsum(-1) - ranked
            cut = before >= self.top_p * p.sum(-1, keepdim=True)
            p = torch.zeros_like(p).scatter(-1, order, ranked.masked_fill(cut, 0))
        if self.min_p > 0:
            p = p.masked_fill(p < self.min_p * p.amax(-1, keepdim=True), 0)
        return p


def sample_ids(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """For each row of logits [B, V] the first id whose cumulative probability exceeds its uniform draw [B]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    p = sampling.probabilities(logits)
    return first_above(p if p.device.type == "mps" else p.double(), draws)  # MPS has no float64


def first_above(p: Tensor, draws: Tensor) -> Tensor:
    """For each row of p [B, V], not normalized, the first id whose cumulative sum exceeds its draw [B] times the total
    sum."""
    sums = p.cumsum(-1)
    draws = draws.to(sums.device, sums.dtype)
    if sums.dtype == torch.float32:  # it rounds a draw just below 1 to 1, and no sum exceeds the total
        draws = draws.clamp(max=1 - torch.finfo(torch.float32).eps / 2)
    return (sums > draws[:, None] * sums[:, -1:]).to(torch.uint8).argmax(-1)
