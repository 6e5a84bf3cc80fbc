"""Intervals and p values against published ones, and the coverage of intervals on simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charlstm.comparison import resampling
from charlstm.comparison.resampling import crossed_bootstrap, fisher, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_matches_published_intervals(successes, trials, expected):
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert wilson(successes, trials) == pytest.approx(expected, abs=5e-5)
    low, high = wilson(trials - successes, trials)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=5e-5)


def test_wilson_bounds_are_exactly_zero_and_one():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(2000, 2000)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_invalid_proportions_raise(successes, trials):
    with pytest.raises(ValueError, match="are not a proportion"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((5, 0, 0, 5), 2 / 252),
        ((0, 5, 5, 0), 2 / 252),
        ((4, 1, 0, 5), 12 / 252),
        ((3, 1, 1, 3), 34 / 70),  # Fisher 1935, the lady tasting tea
        ((8, 2, 1, 5), 0.034965),
        ((1, 9, 11, 3), 0.0027595),
        ((2, 2, 2, 2), 1.0),
        ((0, 0, 3, 2), 1.0),
    ],
)
def test_fisher_matches_known_values(table, expected):
    a, b, c, d = table
    assert fisher(a, b, c, d) == pytest.approx(expected, rel=1e-4)
    assert fisher(a, c, b, d) == fisher(a, b, c, d) == fisher(d, c, b, a)


def test_fisher_of_large_counts():
    assert fisher(1000, 0, 0, 1000) == pytest.approx(2 / math.comb(2000, 1000))


def test_fisher_of_negative_counts_raises():
    with pytest.raises(ValueError, match="negative"):
        fisher(1, -1, 2, 3)


def test_interval_of_independent_values_is_normal():
    values = np.random.default_rng(1).normal(3, 2, 500)
    half = 1.96 * values.std() / math.sqrt(500)
    assert paired_bootstrap(values, 500, 1) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.008)
    assert (
        paired_bootstrap(values, 500, 1)
        == paired_bootstrap(values.tolist(), 500, 1)
        != paired_bootstrap(values, 500, 2)
    )


def test_blocks_of_unequal_length_weight_values_equally():
    """Seven values in blocks of three and four: a resample is one block twice, or both."""
    assert paired_bootstrap([0, 0, 0, 1, 1, 1, 1], 2, 1) == (0.0, 1.0)
    values = np.arange(7.0)
    low, high = paired_bootstrap(values, 2, 1)
    means = {values[:3].mean(), values[3:].mean(), values.mean()}
    assert {low, high} <= means


def test_single_block_or_value_has_zero_width():
    assert paired_bootstrap([1.0, 2.0, 6.0], 1, 1) == (3.0, 3.0)
    assert paired_bootstrap([4.5], 1, 1) == (4.5, 4.5)


def test_interval_does_not_depend_on_chunk(monkeypatch):
    values = np.random.default_rng(1).normal(size=300)
    expected = paired_bootstrap(values, 30, 1)
    monkeypatch.setattr(resampling, "CHUNK", 700)
    assert paired_bootstrap(values, 30, 1) == expected


def test_block_coverage_of_autocorrelated_values():
    """For x_t = 0.8 x_(t-1) + e_t, whose mean has three times the standard deviation as for independent values, the
    intervals of blocks nearly always cover the mean; those of single values do so far less often."""
    rng, covered = np.random.default_rng(1), {10: 0, 200: 0}
    for _ in range(60):
        noise, values, x = rng.normal(size=250), np.empty(250), 0.0
        for t in range(250):
            x = values[t] = 0.8 * x + noise[t]
        for blocks in covered:
            low, high = paired_bootstrap(values[50:], blocks, 1)
            covered[blocks] += low <= 0 <= high
    assert covered[10] >= 48
    assert covered[200] <= 39


@pytest.mark.parametrize(
    ("values", "blocks", "message"),
    [([], 1, "0 values"), ([1.0], 2, "1 values"), ([1.0], 0, "0 blocks"), ([1.0, math.nan], 1, "finite")],
)
def test_invalid_values_or_blocks_raise(values, blocks, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(values, blocks, 1)


def test_crossed_interval_combines_runs_and_blocks():
    rng = np.random.default_rng(3)
    runs, blocks = rng.normal(size=(40, 1)) + np.zeros((40, 60)), np.zeros((40, 60)) + rng.normal(size=60)
    for table, values in ((runs, runs[:, 0]), (blocks, blocks[0])):
        low, high = crossed_bootstrap(table, 1)
        half = 1.96 * values.std() / math.sqrt(len(values))
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.013)
    low, high = crossed_bootstrap(runs + blocks, 1)
    half = 1.96 * math.hypot(runs[:, 0].std() / math.sqrt(40), blocks[0].std() / math.sqrt(60))
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert crossed_bootstrap([[2.0]], 1) == (2.0, 2.0)
    for invalid in ([1.0], [[]], [[math.nan]]):
        with pytest.raises(ValueError, match="values of runs over blocks"):
            crossed_bootstrap(invalid, 1)
