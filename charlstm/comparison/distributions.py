"""The beta and t distributions, an exact test, and its correction for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

MAX_STEPS = 200
"""Steps of a quantile at most; usually there are fewer than ten."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """P(X <= x) for X ~ Beta(a, b): the regularized incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1), tiny)
    value, m = d, 0
    while True:
        m += 1
        change = 1.0
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d, tiny)
            c = _away_from_zero(1.0 + numerator / c, tiny)
            change = c * d
            value *= change
        if abs(change - 1.0) < 1e-15 or m == 100_000:
            return math.exp(log_front) * value / a


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def beta_quantile(a: float, b: float, level: float) -> float:
    """The x with P(X <= x) = level for X ~ Beta(a, b), by Newton's method between bounds that bisection narrows."""
    low, high, x = 0.0, 1.0, a / (a + b)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    for _ in range(MAX_STEPS):
        excess = incomplete_beta(a, b, x) - level
        low, high = (x, high) if excess < 0 else (low, x)
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_beta)
        step = excess / density if density > 0 else math.inf
        following = x - step if low < x - step < high else (low + high) / 2
        if abs(following - x) <= 1e-14 * x:
            break
        x = following
    return x


@cache
def student_t(degrees: float, level: float = 0.975) -> float:
    """Quantile of Student's t at a level above 0.5; the degrees of freedom, at least 1, need not be whole."""
    if not degrees >= 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {degrees}")
    # degrees / (degrees + t^2) ~ Beta(degrees / 2, 1 / 2), with the probability of both tails.
    x = beta_quantile(degrees / 2, 0.5, 2 * (1 - level))
    return math.sqrt(degrees * (1 - x) / x)


def binomial_test(successes: int, trials: int, chance: float) -> float:
    """One-sided p of so many successes or more if each trial succeeds with the probability `chance` (exact)."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials are not a proportion")
    return incomplete_beta(successes, trials - successes + 1, chance) if successes else 1.0


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which hypotheses are rejected, with a probability of at most 5% of any false rejection (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] > 0.05 / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
