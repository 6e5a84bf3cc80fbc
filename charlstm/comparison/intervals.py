"""Confidence bounds of means, fractions and medians over few seeds.

Every function returns a lower and an upper bound. `level` is the probability that one bound is right: with 0.95, the
true value is below the lower bound in at most 5% of all repetitions, and above the upper bound in at most 5%; with
0.975, both are right in 95%.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charlstm.comparison.distributions import beta_quantile, student_t

MIN_SEEDS = 3
"""With fewer seeds, a t interval is too wide to be useful, so there is none."""

BOUND = 0.95
"""The level of a bound that decides a claim."""

STEPS = 40
"""Bisection steps of a bound between 0 and 1, which is then exact to twelve digits."""

Bounds = tuple[float, float]
Array = npt.NDArray[np.float64]


def binomial_bounds(successes: int, trials: int, level: float = BOUND) -> Bounds:
    """Bounds of a proportion (Clopper & Pearson 1934), which are never too narrow.

    Raises ValueError unless 0 <= successes <= trials and trials > 0.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} successes of {trials} trials are not a proportion")
    low = beta_quantile(successes, trials - successes + 1, 1 - level) if successes > 0 else 0.0
    return low, beta_quantile(successes + 1, trials - successes, level) if successes < trials else 1.0


def t_bounds(values: Sequence[float], level: float = 0.975) -> Bounds | None:
    """Bounds of the mean of values, one per seed, by Student's t; None with fewer than `MIN_SEEDS` values."""
    if len(values) < MIN_SEEDS:
        return None
    mean = statistics.fmean(values)
    half = student_t(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def bounded_mean_bounds(values: npt.ArrayLike, level: float = BOUND) -> tuple[Array, Array]:
    """Bounds of the mean of values in [0, 1], one per seed, [..., S], whatever their distribution (Gaffke 2005).

    Seeds often succeed or fail altogether. Five equal values then do not show that there is no spread, as a t interval
    assumes: for values of 0 and 1, these bounds are those of Clopper & Pearson.
    """
    fractions = np.asarray(values, np.float64)
    if not fractions.shape[-1] or not ((fractions >= 0) & (fractions <= 1)).all():
        raise ValueError("expected fractions from 0 to 1, one per seed")
    low: Array = 1 - _upper_bound(1 - fractions, level)
    return low, _upper_bound(fractions, level)


def _upper_bound(fractions: Array, level: float) -> Array:
    """The quantile of a mean of the values and 1, weighted by uniform spacings (flat Dirichlet weights)."""
    knots = np.sort(np.concatenate([fractions, np.ones_like(fractions[..., :1])], -1), -1)
    low: Array = knots[..., 0]
    high: Array = knots[..., -1]
    for _ in range(STEPS):
        middle = (low + high) / 2
        is_below = _spacings_cdf(knots, middle) < level
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return high


def _spacings_cdf(knots: Array, x: Array) -> Array:
    """P(sum of w_i knot_i <= x) for flat Dirichlet weights w and sorted knots: the integral of a B-spline, by the
    recurrence of Cox and de Boor."""
    count = knots.shape[-1]
    cdf = (knots <= x[..., None]).astype(np.float64)
    for width in range(1, count):
        first, last = knots[..., : count - width], knots[..., width:]
        span = last - first
        weight = (x[..., None] - first) / np.where(span > 0, span, 1.0)
        cdf = weight * cdf[..., :-1] + (1 - weight) * cdf[..., 1:]
        cdf = np.where(x[..., None] >= last, 1.0, np.where(x[..., None] < first, 0.0, cdf))
    return np.asarray(cdf[..., 0])


def two_way_error(values: Array) -> tuple[Array, Array]:
    """Standard error of the mean of values [..., S, B] of S seeds over the same B blocks of text, and its degrees of
    freedom (Satterthwaite 1946).

    The squared error is that of the seeds' means plus that of the blocks' means. The spread of single values is in
    both, so it is too large rather than too small.
    """
    seeds, blocks = values.shape[-2:]
    by_seed = values.mean(-1).var(-1, ddof=1) / seeds
    by_block = values.mean(-2).var(-1, ddof=1) / blocks
    total = by_seed + by_block
    squares = by_seed**2 / (seeds - 1) + by_block**2 / (blocks - 1)
    degrees = np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1.0), seeds - 1)
    return np.sqrt(total), np.maximum(degrees, 1.0)


def two_way_bounds(values: npt.ArrayLike, level: float = BOUND) -> Bounds | None:
    """Bounds of the mean of values [S, B] of S seeds over the same B blocks of a text, for other seeds and other text.

    None with fewer than `MIN_SEEDS` seeds or two blocks. Raises ValueError without values, or if one is not finite.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError("expected finite values of seeds over blocks, [S, B]")
    if table.shape[0] < MIN_SEEDS or table.shape[1] < 2:
        return None
    error, degrees = two_way_error(table)
    mean, half = float(table.mean()), student_t(float(degrees), level) * float(error)
    return mean - half, mean + half


def median_bounds(values: Sequence[float], level: float = BOUND) -> Bounds | None:
    """Bounds of the median of values, one per seed, whatever their distribution: two of the values; None if there are
    too few (below five at a level of 0.95)."""
    ordered, count = sorted(values), len(values)
    outside, tail = -1, 0.0
    while (tail := tail + math.comb(count, outside + 1) / 2**count) <= 1 - level:
        outside += 1
    return None if outside < 0 else (ordered[outside], ordered[count - 1 - outside])
