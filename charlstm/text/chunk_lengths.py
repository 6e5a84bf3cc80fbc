"""The lengths of the chunks of a text: equal, or random (Merity et al. 2018, section 4.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charlstm.text.random_numbers import random_numbers
from charlstm.text.separators import Positions

HALF_PROBABILITY = 0.05
"""The probability that a chunk is about half as long."""
MIN_LENGTH, MAX_DEVIATIONS = 5, 4


def longest_chunk(mean: int, std: int) -> int:
    """The most characters that a chunk can have."""
    return mean + MAX_DEVIATIONS * std


def chunk_bounds(rows: int, mean: int, std: int, *seeds: int) -> range | Positions:
    """The boundaries of consecutive chunks of a text of ``rows`` characters, from 0 to ``rows`` or more, [chunks + 1].

    Without ``std`` each chunk has ``mean`` characters. Else its length is a normal number with mean T and standard
    deviation ``std``, rounded down; T is ``mean``, or with probability ``HALF_PROBABILITY`` half of it. It is at least
    ``MIN_LENGTH``, if ``mean`` is, at most :func:`longest_chunk`, and depends only on the seeds. The last chunk has the
    characters that are left.
    """
    if not std:
        return range(0, -(-rows // mean) * mean + 1, mean)
    count = rows // mean + 1
    ends = np.cumsum(_lengths(count, mean, std, *seeds))
    while ends[-1] < rows:
        count *= 2
        ends = np.cumsum(_lengths(count, mean, std, *seeds))
    bounds: Positions = np.concatenate([[0], ends[ends < rows], [rows]])
    return bounds


def _lengths(count: int, mean: int, std: int, *seeds: int) -> Positions:
    choice, radius, angle = (_uniform(count, *seeds, stream) for stream in range(3))
    centers = np.where(choice < HALF_PROBABILITY, mean / 2, mean)
    normal = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)  # Box & Muller 1958
    exact = centers + std * normal.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    lengths: Positions = np.maximum(exact.astype(np.int64), min(MIN_LENGTH, mean))
    return lengths


def _uniform(count: int, *seeds: int) -> npt.NDArray[np.float64]:
    """Uniform numbers above 0 and below 1."""
    uniform: npt.NDArray[np.float64] = ((random_numbers(count, *seeds) >> np.uint64(11)) + 0.5) * 2.0**-53
    return uniform
