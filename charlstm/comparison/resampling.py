"""Bootstrap intervals, Wilson's interval for proportions, and Fisher's exact test."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
CHUNK = 1 << 20  # blocks drawn at a time, which bounds the memory

Values = npt.ArrayLike


def paired_bootstrap(differences: Values, blocks: int, seed: int) -> tuple[float, float]:
    """95% interval of the mean of paired differences [M], one per target, in the order of the text: percentiles over
    10,000 resamples (Efron 1979).

    Neighboring targets are correlated, so contiguous blocks are drawn with replacement (Künsch 1989; here without
    overlap, Carlstein 1986). Block lengths differ by at most one. The same seed gives the same interval.

    Raises ValueError if there are no differences, if one is not finite, or unless 1 <= blocks <= M.
    """
    values = np.asarray(differences, np.float64).reshape(-1)
    if not 1 <= blocks <= len(values):
        raise ValueError(f"{len(values)} values cannot be cut into {blocks} blocks")
    if not np.isfinite(values).all():
        raise ValueError("every value must be finite")
    starts = len(values) * np.arange(blocks) // blocks
    sums, lengths = np.add.reduceat(values, starts), np.diff(starts, append=len(values))
    rng, means = np.random.default_rng(seed), np.empty(RESAMPLES)
    rows = max(1, CHUNK // blocks)
    for part in (means[first : first + rows] for first in range(0, RESAMPLES, rows)):
        drawn = rng.integers(blocks, size=(len(part), blocks))
        part[:] = sums[drawn].sum(1) / lengths[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def crossed_bootstrap(values: Values, seed: int) -> tuple[float, float]:
    """95% interval of the mean of values [S, B], of S runs over the same B blocks of a text: runs and blocks are
    resampled independently, each with replacement (Owen 2007, "The pigeonhole bootstrap"). Percentiles over 10,000
    resamples.

    Raises ValueError if there are no values, or if one is not finite.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError("expected finite values of runs over blocks, [S, B]")
    rng, (runs, blocks) = np.random.default_rng(seed), table.shape
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), RESAMPLES) @ table / runs
    weights = rng.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES) / blocks
    low, high = np.percentile((drawn * weights).sum(1), [2.5, 97.5])
    return float(low), float(high)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927): all p with \\|successes / n - p\\| <= z sqrt(p (1 - p) / n).

    Raises ValueError unless 0 <= successes <= trials and trials >= 1.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials are not a proportion")
    z = NormalDist().inv_cdf(0.975)
    fraction, weight = successes / trials, 1 + z * z / trials
    middle = (fraction + z * z / (2 * trials)) / weight
    half = z * math.sqrt(fraction * (1 - fraction) / trials + z * z / (4 * trials * trials)) / weight
    # For no success or all, a bound is exactly 0 or 1, which rounding would miss.
    return (middle - half if successes else 0.0), (middle + half if successes < trials else 1.0)


def fisher(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p of the table [[a, b], [c, d]] (Fisher's exact test): the sum of the hypergeometric probabilities of
    all tables with these margins that are no more probable than this one.

    Raises ValueError for a negative count.
    """
    if min(a, b, c, d) < 0:
        raise ValueError(f"counts cannot be negative, got {(a, b, c, d)}")
    row, column, total = a + b, a + c, a + b + c + d

    def ways(first: int) -> int:
        return math.comb(row, first) * math.comb(total - row, column - first)

    as_extreme = (ways(k) for k in range(max(0, row + column - total), min(row, column) + 1) if ways(k) <= ways(a))
    return sum(as_extreme) / math.comb(total, column)
