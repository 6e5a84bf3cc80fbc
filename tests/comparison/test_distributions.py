"""Quantiles, exact tests and intervals against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charlstm.comparison.distributions import beta_quantile, binomial_test, holm, incomplete_beta, student_t
from charlstm.comparison.intervals import (
    binomial_bounds,
    bounded_mean_bounds,
    median_bounds,
    t_bounds,
    two_way_bounds,
    two_way_error,
)


@pytest.mark.parametrize(("a", "b", "x"), [(1, 1, 0.3), (2, 3, 0.4), (0.5, 0.5, 0.2), (3, 40, 0.1), (200, 801, 0.21)])
def test_incomplete_beta_matches_binomial_sums(a, b, x):
    if (a, b) == (0.5, 0.5):
        expected = 2 / math.pi * math.asin(math.sqrt(x))
    else:
        n = a + b - 1
        expected = sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert incomplete_beta(a, b, x) == pytest.approx(expected, rel=1e-10)
    assert incomplete_beta(b, a, 1 - x) == pytest.approx(1 - expected, rel=1e-10)
    assert beta_quantile(a, b, expected) == pytest.approx(x, rel=1e-9)


@pytest.mark.parametrize("x", [0, 1])
def test_incomplete_beta_at_its_ends(x):
    assert incomplete_beta(2, 3, x) == x


def probability_within(t: float, degrees: int) -> float:
    """P(|T| <= t) of Student's distribution, whose density is proportional to cos(u)^(n - 1) for t = sqrt(n) tan(u)."""
    inside, total = (
        (np.cos((np.arange(5000) + 0.5) / 5000 * end) ** (degrees - 1)).mean() * end
        for end in (math.atan(t / math.sqrt(degrees)), math.pi / 2)
    )
    return float(inside / total)


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 100, 1000])
def test_student_t_is_correct_to_four_decimals(degrees):
    t, tolerance = student_t(degrees), 1e-5
    assert probability_within(t - tolerance, degrees) < 0.95 < probability_within(t + tolerance, degrees)


def test_zero_degrees_of_freedom_raise():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        student_t(0)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423), (31, 2.0395), (60, 2.0003)],
)
def test_student_t_matches_published_quantiles(degrees, expected):
    assert student_t(degrees) == pytest.approx(expected, abs=1e-4)


def test_student_t_decreases_with_degrees():
    values = [student_t(degrees) for degrees in range(1, 200)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 1.96


def test_one_sided_student_t_matches_tables():
    assert [student_t(n, 0.95) for n in (2, 9)] == pytest.approx([2.9200, 1.8331], abs=5e-5)


def test_student_t_between_whole_degrees():
    assert student_t(2) > student_t(2.5) > student_t(3)
    assert student_t(1e6) == pytest.approx(1.959964, abs=1e-5)


def test_binomial_bounds_match_known_values():
    assert binomial_bounds(0, 5) == pytest.approx((0, 1 - 0.05**0.2))
    assert binomial_bounds(5, 5) == pytest.approx((0.05**0.2, 1))
    assert binomial_bounds(3, 10) == pytest.approx((0.0873, 0.6066), abs=5e-5)
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 5.
    assert binomial_bounds(81, 263, 0.975) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert binomial_bounds(15, 148, 0.975) == pytest.approx((0.0578, 0.1617), abs=5e-5)
    for successes, trials in [(0, 0), (-1, 3), (4, 3)]:
        with pytest.raises(ValueError, match="are not a proportion"):
            binomial_bounds(successes, trials)


@pytest.mark.parametrize("successes", range(6))
def test_bounded_mean_bounds_of_zeros_and_ones_are_binomial(successes):
    values = [1.0] * successes + [0.0] * (5 - successes)
    assert [float(end) for end in bounded_mean_bounds(values)] == pytest.approx(binomial_bounds(successes, 5), abs=1e-9)


def test_bounded_mean_bounds_of_a_single_value():
    low, high = bounded_mean_bounds([0.4])
    assert (float(low), float(high)) == pytest.approx((0.05 * 0.4, 1 - 0.05 * 0.6))
    for invalid in ([], [1.1], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="fractions from 0 to 1"):
            bounded_mean_bounds(invalid)


def test_binomial_test_matches_sums():
    expected = sum(math.comb(20, k) * 0.125**k * 0.875 ** (20 - k) for k in range(6, 21))
    assert binomial_test(6, 20, 0.125) == pytest.approx(expected)
    assert binomial_test(0, 20, 0.125) == 1.0
    with pytest.raises(ValueError, match="are not a proportion"):
        binomial_test(3, 2, 0.5)


def test_holm_rejects_in_order_of_p():
    assert holm([0.01, 0.04, 0.03, 0.001]) == [True, False, False, True]
    assert holm([0.03, 0.01]) == [True, True]
    assert holm([]) == []


def test_t_bounds_need_three_values():
    assert t_bounds([1.0, 2.0]) is None
    low, high = t_bounds([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)


def test_two_way_error_adds_seeds_and_blocks():
    seeds, blocks = np.array([0.0, 1.0, 2.0]), np.linspace(-1, 1, 20)
    error, degrees = two_way_error(np.add.outer(seeds, np.zeros(20)))
    assert (error, degrees) == pytest.approx((1 / math.sqrt(3), 2))
    error, degrees = two_way_error(np.add.outer(np.zeros(3), blocks))
    assert (error, degrees) == pytest.approx((blocks.std(ddof=1) / math.sqrt(20), 19))
    error, _ = two_way_error(np.add.outer(seeds, blocks))
    assert error**2 == pytest.approx(1 / 3 + blocks.var(ddof=1) / 20)


def test_two_way_bounds_need_three_seeds():
    assert two_way_bounds([[1.0, 2.0], [2.0, 3.0]]) is None
    assert two_way_bounds(np.full((3, 4), 2.0)) == (2.0, 2.0)
    for invalid in ([1.0], [[]], [[math.nan]]):
        with pytest.raises(ValueError, match="values of seeds over blocks"):
            two_way_bounds(invalid)


def test_median_bounds_are_order_statistics():
    assert median_bounds([3, 1, 2, 5, 4]) == (1, 5)
    assert median_bounds(range(10)) == (1, 8)
    assert median_bounds([1, 2, 3, 4]) is None
