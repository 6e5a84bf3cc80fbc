"""Synchronous successive halving (Jamieson & Talwalkar 2016), one bracket of Hyperband (Li et al. 2018).

All candidates are trained to the first rung, the best of them to the next, and so on; the last one is the end of the
budget. A candidate waits until all others have reached the rung, other than in the asynchronous form (Li et al. 2020),
so the result does not depend on how many runs are trained at a time, nor on interruptions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def number_promoted(candidates: int, reduction_factor: float) -> int:
    """How many candidates go on from a rung: one in ``reduction_factor``, rounded up."""
    return math.ceil(candidates / reduction_factor - 1e-9)


def promoted(scores: Mapping[int, float], reduction_factor: float) -> list[int]:
    """The candidates that go on from a rung, in order of their numbers.

    Args:
        scores: mean held-out nats of each candidate at the rung, by its number; infinite if it diverged. The lowest
            are best; of equal ones, the lower number.
    """
    best = sorted(scores, key=lambda number: (scores[number], number))
    kept = best[: number_promoted(len(best), reduction_factor)]
    return sorted(number for number in kept if math.isfinite(scores[number]))


def trained_at_rungs(candidates: int, rungs: Sequence[float], reduction_factor: float) -> list[int]:
    """How many candidates are trained to each rung, and to the end of the budget."""
    counts = [candidates]
    for _ in rungs:
        counts.append(number_promoted(counts[-1], reduction_factor))
    return counts
