"""Metrics over seeds with their bounds, and the verdicts that follow."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm.config import MemoryConfig
from charlstm.config.claims import Claim
from charlstm.memory.comparison import headline
from charlstm.memory.metrics import (
    MetricValue,
    above_chance_metric,
    difference_metric,
    estimate,
    fraction_metric,
    mean_metric,
    median_metric,
    reach_metric,
    seeds_metric,
)


@pytest.mark.parametrize(
    ("successes", "seeds", "text", "interval"),
    [
        (0, 5, "0 of 5 seeds", "at most 45%"),
        (5, 5, "5 of 5 seeds", "at least 55%"),
        (3, 10, "3 of 10 seeds", "9% to 61%"),
        (1, 1, "1 of 1 seed", "at least 5%"),
    ],
)
def test_seeds_metric_states_what_it_excludes(successes, seeds, text, interval):
    metric = seeds_metric(successes, seeds)
    assert (metric.value, metric.text, metric.interval) == (successes / seeds, text, interval)
    assert metric.low <= metric.value <= metric.high


def test_reach_does_not_jump_over_a_failed_length():
    solved = [[True, True, False], [True, False, True], [True, True, True]]
    assert reach_metric([5, 10, 20], solved, fraction=0.6).value == 20
    assert reach_metric([5, 10, 20], solved, fraction=0.8).value == 5
    assert reach_metric([5], [[False]], fraction=0.8).value == 0
    assert reach_metric([5, 10, 20], [[True, False, True]] * 5).value == 5


def test_reach_metric_has_bounds_from_fractions_of_seeds():
    solved = [[True, True, seed < 3, False] for seed in range(5)]
    metric = reach_metric([5, 10, 20, 50], solved, "letters")
    assert (metric.value, metric.low, metric.high) == (20, 10, 20)
    assert (metric.text, metric.interval) == ("20 letters", "5 seeds: 10 to 20")


def test_reach_at_the_end_of_the_lengths_has_no_upper_bound():
    metric = reach_metric([5, 10], [[True, True]] * 5)
    assert (metric.value, metric.low, metric.high) == (10, 10, math.inf)
    assert (metric.text, metric.interval) == ("10 or more", "5 seeds: 10 to 10 or more")


def test_equal_fractions_have_bounds():
    metric = fraction_metric([1.0, 1.0, 1.0], 100)
    mean, low, high = metric.estimate
    assert mean == high == 1.0
    assert low == pytest.approx(0.05 ** (1 / 3))
    assert (metric.low, metric.high) == (low, high)
    assert metric.interval == "3 seeds with 100 strings: 36.8% to 100%"


def test_seeds_above_chance_are_counted_with_holm():
    assert above_chance_metric([0.125] * 5, 2000, 0.125).text == "0 of 5 seeds"
    # One of ten seeds at p = 0.02 is expected by chance: Holm's correction does not count it.
    assert above_chance_metric([0.1405, *[0.125] * 9], 2000, 0.125).text == "0 of 10 seeds"
    assert above_chance_metric([0.172, 0.15, 0.125], 2000, 0.125).text == "2 of 3 seeds"


def test_mean_of_seeds_has_one_sided_bounds():
    metric = mean_metric([1.0, 2.0, 3.0], "nats")
    assert (metric.low, metric.high) == pytest.approx((2 - 2.92 / math.sqrt(3), 2 + 2.92 / math.sqrt(3)), abs=1e-3)
    assert metric.interval == "3 seeds: 0.314 to 3.686"
    assert np.isnan(estimate([None])[0])
    assert np.isnan(estimate([0.5])[1])


def test_seed_without_a_value_leaves_no_bounds():
    metric = mean_metric([1.0, 2.0, 3.0, None], "nats")
    assert math.isnan(metric.low)
    assert (metric.interval, metric.reason) == ("", "1 of 4 seeds without a value")


def test_difference_metric_shows_seeds_and_blocks():
    values = np.add.outer([0.0, 0.01, 0.02], np.linspace(-0.01, 0.01, 10)) - 0.1
    metric = difference_metric(values, "bits", "+")
    assert metric.text == "-0.090 bits"
    assert metric.interval.startswith("3 seeds and 10 blocks: -0.1")
    assert metric.low < -0.09 < metric.high < 0
    assert math.isnan(difference_metric(values[:2], "bits").low)


def test_median_at_the_end_of_the_scale_has_no_upper_bound():
    metric = median_metric([10, 20, 30, 102, 102], "characters", end=102)
    assert (metric.value, metric.low, metric.high) == (30, 10, math.inf)
    assert metric.interval == "5 seeds: 10 to 102 or more"
    assert math.isnan(median_metric([1, 2, 3], "characters").low)


def test_median_of_a_measured_value_and_one_at_the_end_of_the_scale_is_a_lower_limit():
    assert median_metric([50] * 5 + [102] * 5, "characters", end=102).text == "76 characters or more"
    assert median_metric([50] * 6 + [102] * 4, "characters", end=102).text == "50 characters"


def test_median_is_printed_with_four_digits():
    metric = median_metric([0.123456, 1.987654, 1234.5678, 1250.4321, 1299.5678], "characters")
    assert (metric.value, metric.text) == (1234.5678, "1,235 characters")
    assert metric.interval == "5 seeds: 0.1235 to 1,300"
    assert median_metric([12345, 123456, 1234567], "characters").text == "123,456 characters"


@pytest.mark.parametrize(
    ("low", "high", "at_least", "at_most"),
    [
        (0.5, 0.9, "held", "undecided"),
        (0.6, 0.9, "held", "not held"),
        (0.1, 0.5, "undecided", "held"),
        (0.1, 0.4, "not held", "held"),
        (0.4, 0.6, "undecided", "undecided"),
        (0.4, math.inf, "undecided", "undecided"),
        (math.nan, math.nan, "undecided", "undecided"),
    ],
)
def test_interval_around_the_threshold_is_undecided(low, high, at_least, at_most):
    metric = MetricValue(0.5, "0.5", "", low, high)
    claims = [Claim(statement="x", metric="y", arm="z", **{bound: 0.5}) for bound in ("at_least", "at_most")]
    assert [claim.verdict(metric) for claim in claims] == [at_least, at_most]


def test_too_few_seeds_are_the_reason_of_missing_bounds():
    """A claim about such a value is undecided whatever was measured."""
    for metric, covers in (
        (median_metric([6, 7], "characters"), "2 seeds"),
        (mean_metric([1.0, 2.0], "nats"), "2 seeds"),
        (difference_metric([[1.0, 2.0]] * 2, "bits"), "2 seeds and 2 blocks"),
    ):
        assert (metric.interval, metric.reason) == ("", f"{covers}: too few for bounds")
        assert math.isnan(metric.low)
    enough = median_metric([6] * 5, "characters")
    assert (enough.interval, enough.reason) == ("5 seeds: 6 to 6", "")


def test_values_without_some_seeds_have_no_bounds():
    for metric, text in (
        (mean_metric([1.0, None, 2.0], "nats"), "1.500 nats"),
        (difference_metric([[1.0, 2.0]] * 2, "bits", "+", missing=1), "+1.500 bits"),
        (median_metric([1, 2], "characters", missing=1), "1.5 characters"),
    ):
        assert (metric.value, metric.text, metric.reason) == (1.5, text, "1 of 3 seeds without a value")
        assert math.isnan(metric.low)


def test_headline_says_what_depends_on_the_initialization():
    initializations = {"a": {"x": {}, "y": {}}, "b": {"x": {}, "y": {}}}
    arms = {name: {"model.cell": "rnn", "initializations": one} for name, one in initializations.items()} | {
        "c": {"model.cell": "lstm"}
    }
    config = MemoryConfig.model_validate({"arms": arms, "experiments": {"recall": {"arms": list(arms), "lags": [5]}}})
    longest = {"a": 20, "a, x": 0, "a, y": 20, "b": 50, "b, x": 50, "b, y": 50, "c": 0}
    metrics = {
        ("longest lag", arm): reach_metric([10, 20, 50, 100], [[lag >= n for n in (10, 20, 50, 100)]])
        for arm, lag in longest.items()
    }
    (sentence,) = headline({"recall": SimpleNamespace(metrics=metrics)}, config)
    assert sentence.endswith(
        ": b: 50 with every initialization; a: less than 10 to 20, by its initialization; c: less than 10."
    )
    assert headline({}, config) == []
