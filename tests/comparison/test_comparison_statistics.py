from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from charlstm.comparison.results import Arm, Comparison, Evaluation
from charlstm.comparison.statistics import (
    Difference,
    difference,
    differences,
    final_training_nats,
    student_t,
    summarise,
    t_interval,
)
from charlstm.units import bits


def test_bits_are_nats_over_the_logarithm_of_two():
    assert bits(math.log(2)) == pytest.approx(1.0)
    assert bits(math.log(65)) == pytest.approx(6.0223678)


def test_best_is_the_lowest_finite_score_and_where_it_was(make_run):
    run = make_run(2.0, rise=0.5)
    broken = Evaluation(99, 9999, 9.9, math.nan)
    run = replace(run, evaluations=[broken, *run.evaluations, broken])
    assert run.best is not None
    assert (run.best.step, run.best.characters) == (20, 2000)
    assert run.best_bits == pytest.approx(2.0)


def test_summary_of_three_seeds(comparison):
    summary = summarise(comparison.arms[0])
    assert summary.mean_bits == pytest.approx(2.1)
    assert (summary.lowest_bits, summary.highest_bits) == pytest.approx((2.0, 2.2))
    assert summary.deviation_bits == pytest.approx(0.1)
    assert summary.seeds == (1, 2, 3)


def test_speed_and_time_are_medians(make_run):
    runs = [make_run(2.0, s, characters_per_second=v, seconds=v / 10) for s, v in ((1, 10.0), (2, 1e6), (3, 20.0))]
    runs.append(make_run(2.0, 4, characters_per_second=math.nan, seconds=math.inf))
    summary = summarise(Arm("a", runs))
    assert summary.characters_per_second == 20.0
    assert summary.seconds == 2.0


def test_runs_of_one_seed_are_averaged_before_they_are_paired(make_run):
    twice = Arm("a", [make_run(2.0, 1), make_run(3.0, 1), make_run(4.0, 2)])
    found = difference(twice, Arm("b", [make_run(1.0, 1), make_run(1.0, 2)]))
    assert dict(found.pairs) == pytest.approx({1: 1.5, 2: 3.0})


def test_two_seeds_have_a_deviation(make_run):
    summary = summarise(Arm("a", [make_run(2.0, 1, parameters=7), make_run(3.0, 2, parameters=5)]))
    assert summary.deviation_bits == pytest.approx(math.sqrt(0.5))
    assert summary.parameters == (5, 7)


def test_an_arm_without_runs_has_no_figures():
    with pytest.raises(ValueError, match="arm 'a' has no runs"):
        summarise(Arm("a", []))


def test_one_seed_has_no_deviation(make_run):
    summary = summarise(Arm("a", [make_run(2.0)]))
    assert summary.deviation_bits is None
    assert summary.mean_bits == pytest.approx(2.0)


def test_runs_without_a_score_stay_out_of_the_mean_and_are_counted(make_run):
    arm = Arm("a", [make_run(2.0, 1), make_run(None, 2, finished=False), make_run(2.0, 3)])
    summary = summarise(arm)
    assert summary.mean_bits == pytest.approx(2.0)
    assert dict(difference(arm, Arm("b", [make_run(1.0, seed) for seed in (1, 2, 3)])).pairs) == {1: 1.0, 3: 1.0}
    assert (summary.unscored, summary.unfinished) == (1, 1)
    assert summarise(Arm("b", [make_run(None)])).mean_bits is None


def test_difference_is_paired_by_seed(comparison):
    # Differences 0.3, 0.2, 0.4: mean 0.3, deviation 0.1, half width 4.3027 * 0.1 / sqrt(3) = 0.24842.
    (found,) = differences(comparison)
    assert (found.arm, found.reference) == ("rnn", "lstm")
    assert dict(found.pairs) == pytest.approx({1: 0.3, 2: 0.2, 3: 0.4})
    assert found.mean_bits == pytest.approx(0.3)
    assert found.interval_bits == pytest.approx((0.3 - 0.24842, 0.3 + 0.24842), abs=1e-5)
    assert found.excludes_zero
    assert found.reason == ""


def test_pairs_follow_seeds_not_places(comparison):
    lstm, rnn = comparison.arms
    shuffled = replace(rnn, runs=rnn.runs[::-1])
    assert difference(shuffled, lstm).interval_bits == pytest.approx(difference(rnn, lstm).interval_bits)


def test_seeds_of_one_arm_only_are_left_out(comparison, make_run):
    lstm, rnn = comparison.arms
    longer = replace(rnn, runs=[*rnn.runs, make_run(9.0, 4)])
    assert difference(longer, lstm).mean_bits == pytest.approx(0.3)


@pytest.mark.parametrize(("shared", "words"), [(0, "no shared seeds"), (1, "1 shared seed,"), (2, "2 shared seeds")])
def test_too_few_shared_seeds_give_no_interval_and_say_why(comparison, make_run, shared, words):
    lstm, rnn = comparison.arms
    fewer = replace(rnn, runs=[*rnn.runs[:shared], make_run(2.5, 17)])
    found = difference(fewer, lstm)
    assert found.interval_bits is None
    assert not found.excludes_zero
    assert words in found.reason
    assert (found.mean_bits is None) == (shared == 0)


def test_interval_over_zero_is_not_a_difference():
    interval = t_interval([-0.1, 0.1, 0.0])
    assert interval is not None
    assert interval[0] < 0 < interval[1]


@pytest.mark.parametrize(
    ("interval", "excludes"),
    [(None, False), ((0.0, 0.2), False), ((-0.2, 0.0), False), ((0.1, 0.2), True), ((-0.2, -0.1), True)],
)
def test_an_interval_that_ends_at_zero_does_not_exclude_it(interval, excludes):
    assert Difference("a", "b", (), 0.1, interval, "").excludes_zero is excludes


def share_within(t: float, degrees: int) -> float:
    """Of Student's distribution, which t = sqrt(n) tan(u) turns into cos(u)^(n - 1) but for a factor."""
    part, whole = (
        (np.cos((np.arange(5000) + 0.5) / 5000 * end) ** (degrees - 1)).mean() * end
        for end in (math.atan(t / math.sqrt(degrees)), math.pi / 2)
    )
    return float(part / whole)


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 100, 1000])
def test_quantiles_of_student_t_are_right_to_four_decimals(degrees):
    t, rounded = student_t(degrees), 5.1e-5 if degrees <= 30 else 1e-5  # beyond the table it is not
    assert share_within(t - rounded, degrees) < 0.95 < share_within(t + rounded, degrees)


def test_without_a_degree_of_freedom_there_is_no_quantile():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        student_t(0)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423), (31, 2.0395), (60, 2.0003)],
)
def test_quantiles_of_student_t(degrees, expected):
    assert student_t(degrees) == pytest.approx(expected, abs=1e-4)


def test_quantiles_fall_without_a_step_at_the_end_of_the_table():
    values = [student_t(degrees) for degrees in range(1, 200)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 1.96


def test_final_training_loss_is_that_of_the_last_tenth(make_run):
    train = [(100 * k, 1.0 * k, 5.0 if k < 9 else 1.0 + (k - 9)) for k in range(1, 11)]
    assert final_training_nats(make_run(None, train=train)) == pytest.approx(1.5)
    assert final_training_nats(make_run(None, train=[])) is None


def test_likelihoods_and_pseudo_likelihoods_never_mix(make_run):
    mixed = Arm("both", [make_run(2.0, 1), make_run(1.0, 2, causal=False)])
    with pytest.raises(ValueError, match="pseudo"):
        summarise(mixed)
    whole = Comparison("t", [mixed], "c")
    assert [run.seed for run in whole.restrict(causal=True).runs] == [1]
    assert [run.seed for run in whole.restrict(causal=False).runs] == [2]
