"""The coverage of every interval that a report prints, on simulated seeds and texts.

`level` is that of one bound: 0.95 for the bounds of a claim, 0.975 for a two-sided 95% interval. Each bound may be
wrong in 1 - level of the repetitions. What a test allows beyond that is the error of the simulation, and what the
approximation costs, as stated beside it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from charlstm.comparison.distributions import student_t
from charlstm.comparison.intervals import _spacings_cdf as spacings_cdf
from charlstm.comparison.intervals import (
    binomial_bounds,
    bounded_mean_bounds,
    median_bounds,
    t_bounds,
    two_way_bounds,
    two_way_error,
)

SEEDS = (3, 5, 10)
PROPORTIONS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
BLOCKS = 50


def quantiles(degrees: np.ndarray, level: float) -> np.ndarray:
    """Student's t for many degrees of freedom, interpolated."""
    grid = 1 / np.linspace(1 / degrees.max(), 1 / degrees.min(), 200)
    return np.interp(1 / degrees, 1 / grid, [student_t(max(float(d), 1.0), level) for d in grid])


def tables(kind: str, seeds: int, count: int = 1200) -> np.ndarray:
    """Values [count, S, B] with the mean 0: effects of seeds, of blocks, and of both."""
    rng = np.random.default_rng(seeds)
    by_seed, by_block = {
        "seeds": (1.0, 0.1),
        "blocks": (0.0, 1.0),
        "balanced": (1.0, math.sqrt(BLOCKS / seeds)),
        "skewed": (1.0, math.sqrt(BLOCKS / seeds)),
    }[kind]
    block = rng.normal(size=(count, 1, BLOCKS)) if kind != "skewed" else rng.exponential(size=(count, 1, BLOCKS)) - 1
    seed = rng.normal(size=(count, seeds, 1))
    return by_seed * seed + by_block * block + 0.3 * rng.normal(size=(count, seeds, BLOCKS))


def two_way_coverage(values: np.ndarray, level: float) -> tuple[float, float]:
    """How often the lower and the upper bound are right for the mean 0."""
    error, degrees = two_way_error(values)
    mean, half = values.mean((-2, -1)), quantiles(degrees, level) * error
    return float((mean - half <= 0).mean()), float((mean + half >= 0).mean())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", ["seeds", "blocks", "balanced", "skewed"])
def test_two_way_bounds_cover(kind, seeds):
    """Allowed below the level: two points, mostly of the simulation, and three where the blocks are skewed."""
    values, allowed = tables(kind, seeds), 0.03 if kind == "skewed" else 0.02
    for level in (0.95, 0.975):
        assert min(two_way_coverage(values, level)) >= level - allowed


def test_vectorized_coverage_is_that_of_two_way_bounds():
    values = tables("balanced", 5, 20)
    bounds = [two_way_bounds(table) for table in values]
    lower, upper = (np.mean([(bound[side] <= 0) == (side == 0) for bound in bounds]) for side in (0, 1))
    assert two_way_coverage(values, 0.95) == (lower, upper)


@pytest.mark.parametrize("level", [0.95, 0.975])
@pytest.mark.parametrize("seeds", SEEDS)
def test_t_bounds_cover(seeds, level):
    """Exact for normal values, such as differences paired by seed."""
    values = np.random.default_rng(seeds).normal(size=(800, seeds))
    bounds = np.array([t_bounds(row, level) for row in values.tolist()])
    for right in (bounds[:, 0] <= 0, bounds[:, 1] >= 0):
        assert right.mean() == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("level", [0.95, 0.975])
@pytest.mark.parametrize("trials", [*SEEDS, 30, 200])
def test_binomial_bounds_cover(trials, level):
    """The exact probabilities, of every proportion, without simulation."""
    bounds = [binomial_bounds(k, trials, level) for k in range(trials + 1)]
    for p in PROPORTIONS:
        ways = np.array([math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1)])
        assert ways @ [low <= p for low, _ in bounds] >= level
        assert ways @ [high >= p for _, high in bounds] >= level


FRACTIONS = {
    "fail or solve": lambda rng, size, p: (rng.random(size) < p) * 0.87 + 0.12,
    "all alike": lambda rng, size, p: np.clip(rng.normal(p, 0.005, size), 0, 1),
    "anything": lambda rng, size, p: rng.beta(2 * p, 2 * (1 - p), size),
}


def upper_bound_is_right(fractions: np.ndarray, truth: float, level: float) -> np.ndarray:
    """Whether the upper bound of `bounded_mean_bounds` is at least the true mean, without computing the bound."""
    knots = np.sort(np.concatenate([fractions, np.ones_like(fractions[:, :1])], 1))
    return spacings_cdf(knots, np.full(len(knots), truth)) <= level


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", FRACTIONS)
def test_bounds_of_a_mean_of_fractions_cover(kind, seeds):
    for p in PROPORTIONS:
        values = FRACTIONS[kind](np.random.default_rng(seeds), (1500, seeds), p)
        truth = {"fail or solve": 0.87 * p + 0.12, "anything": p}.get(kind, float(values.mean()))
        for level in (0.95, 0.975):
            assert upper_bound_is_right(1 - values, 1 - truth, level).mean() >= level - 0.012
            assert upper_bound_is_right(values, truth, level).mean() >= level - 0.012


def test_short_check_of_bounds_is_that_of_the_bounds():
    values = np.random.default_rng(1).beta(2, 1, (50, 5))
    low, high = bounded_mean_bounds(values)
    assert (upper_bound_is_right(values, 2 / 3, 0.95) == (high >= 2 / 3)).all()
    assert (upper_bound_is_right(1 - values, 1 / 3, 0.95) == (low <= 2 / 3)).all()


@pytest.mark.parametrize(("seeds", "level"), [(5, 0.95), (10, 0.95), (10, 0.975)])
def test_median_bounds_cover(seeds, level):
    values = np.random.default_rng(seeds).exponential(size=(1500, seeds))
    bounds = np.array([median_bounds(row, level) for row in values.tolist()])
    assert (bounds[:, 0] <= math.log(2)).mean() >= level - 0.012
    assert (bounds[:, 1] >= math.log(2)).mean() >= level - 0.012
