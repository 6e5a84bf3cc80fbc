from __future__ import annotations

import math
from dataclasses import replace

import pytest

from charlstm.comparison.intervals import t_bounds
from charlstm.comparison.results import Arm, Comparison, Evaluation
from charlstm.comparison.statistics import (
    Difference,
    difference,
    differences,
    final_training_nats,
    summarize,
)
from charlstm.units import bits


def test_bits_are_nats_over_the_logarithm_of_two():
    assert bits(math.log(2)) == pytest.approx(1.0)
    assert bits(math.log(65)) == pytest.approx(6.0223678)


def test_best_is_the_lowest_finite_score(make_run):
    run = make_run(2.0, rise=0.5)
    broken = Evaluation(99, 9999, 9.9, math.nan)
    run = replace(run, evaluations=[broken, *run.evaluations, broken])
    assert run.best is not None
    assert (run.best.step, run.best.characters) == (20, 2000)
    assert run.best_bits == pytest.approx(2.0)
    assert run.last_bits == pytest.approx(2.5)
    assert replace(run, evaluations=[broken]).last_bits is None


def test_scores_of_the_whole_text_replace_those_of_its_sample(make_run):
    sampled = make_run(2.0, rise=0.5, samples=True)
    assert sampled.has_sampled_score
    assert not make_run(None, samples=True).has_sampled_score
    whole = replace(sampled, whole_split_nats={"best": 3 * math.log(2), "last": 4 * math.log(2)})
    assert (whole.best_bits, whole.last_bits) == pytest.approx((3.0, 4.0))
    assert not whole.has_sampled_score


def test_training_score_is_the_one_beside_the_best_score(make_run):
    best = Evaluation(20, 2000, 2.0, math.log(2), 0.5 * math.log(2))
    run = make_run(None, evaluations=[best, replace(best, nats=2.0)], training_split_nats=0.25 * math.log(2))
    assert run.training_split_bits == pytest.approx(0.5)
    assert replace(run, evaluations=[]).training_split_bits == pytest.approx(0.25)
    assert replace(run, evaluations=[], training_split_nats=None).training_split_bits is None


def test_summary_of_three_seeds(comparison):
    summary = summarize(comparison.arms[0])
    assert summary.mean_bits == pytest.approx(2.1)
    assert (summary.lowest_bits, summary.highest_bits) == pytest.approx((2.0, 2.2))
    assert summary.deviation_bits == pytest.approx(0.1)
    assert summary.seeds == (1, 2, 3)


def test_speed_and_time_are_medians(make_run):
    runs = [make_run(2.0, s, characters_per_second=v, seconds=v / 10) for s, v in ((1, 10.0), (2, 1e6), (3, 20.0))]
    runs.append(make_run(2.0, 4, characters_per_second=math.nan, seconds=math.inf))
    summary = summarize(Arm("a", runs))
    assert summary.characters_per_second == 20.0
    assert summary.seconds == 2.0


def test_runs_with_same_seed_are_averaged_before_pairing(make_run):
    twice = Arm("a", [make_run(2.0, 1), make_run(3.0, 1), make_run(4.0, 2)])
    result = difference(twice, Arm("b", [make_run(1.0, 1), make_run(1.0, 2)]))
    assert dict(result.pairs) == pytest.approx({1: 1.5, 2: 3.0})


def test_two_seeds_have_a_standard_deviation(make_run):
    summary = summarize(Arm("a", [make_run(2.0, 1, parameters=7), make_run(3.0, 2, parameters=5)]))
    assert summary.deviation_bits == pytest.approx(math.sqrt(0.5))
    assert summary.parameters == (5, 7)


def test_arm_without_runs_raises():
    with pytest.raises(ValueError, match="arm 'a' has no runs"):
        summarize(Arm("a", []))


def test_one_seed_has_no_standard_deviation(make_run):
    summary = summarize(Arm("a", [make_run(2.0)]))
    assert summary.deviation_bits is None
    assert summary.mean_bits == pytest.approx(2.0)


def test_runs_without_score_are_excluded_and_counted(make_run):
    arm = Arm("a", [make_run(2.0, 1), make_run(None, 2, finished=False), make_run(2.0, 3)])
    summary = summarize(arm)
    assert summary.mean_bits == pytest.approx(2.0)
    assert dict(difference(arm, Arm("b", [make_run(1.0, seed) for seed in (1, 2, 3)])).pairs) == {1: 1.0, 3: 1.0}
    assert (summary.unscored, summary.unfinished) == (1, 1)
    assert summarize(Arm("b", [make_run(None)])).mean_bits is None


def test_difference_is_paired_by_seed(comparison):
    # Differences 0.3, 0.2, 0.4: mean 0.3, deviation 0.1, half width 4.3027 * 0.1 / sqrt(3) = 0.24842.
    (result,) = differences(comparison)
    assert (result.arm, result.reference) == ("rnn", "lstm")
    assert dict(result.pairs) == pytest.approx({1: 0.3, 2: 0.2, 3: 0.4})
    assert result.mean_bits == pytest.approx(0.3)
    assert result.interval_bits == pytest.approx((0.3 - 0.24842, 0.3 + 0.24842), abs=1e-5)
    assert result.excludes_zero
    assert result.reason == ""


def test_runs_are_paired_by_seed_not_position(comparison):
    lstm, rnn = comparison.arms
    shuffled = replace(rnn, runs=rnn.runs[::-1])
    assert difference(shuffled, lstm).interval_bits == pytest.approx(difference(rnn, lstm).interval_bits)


def test_seeds_of_only_one_arm_are_excluded(comparison, make_run):
    lstm, rnn = comparison.arms
    longer = replace(rnn, runs=[*rnn.runs, make_run(9.0, 4)])
    assert difference(longer, lstm).mean_bits == pytest.approx(0.3)


@pytest.mark.parametrize(("shared", "reason"), [(0, "no shared seeds"), (1, "1 shared seed,"), (2, "2 shared seeds")])
def test_too_few_shared_seeds_give_reason_not_bounds(comparison, make_run, shared, reason):
    lstm, rnn = comparison.arms
    fewer = replace(rnn, runs=[*rnn.runs[:shared], make_run(2.5, 17)])
    result = difference(fewer, lstm)
    assert result.interval_bits is None
    assert not result.excludes_zero
    assert reason in result.reason
    assert (result.mean_bits is None) == (shared == 0)


def test_interval_of_symmetric_values_includes_zero():
    interval = t_bounds([-0.1, 0.1, 0.0])
    assert interval is not None
    assert interval[0] < 0 < interval[1]


@pytest.mark.parametrize(
    ("interval", "excludes"),
    [(None, False), ((0.0, 0.2), False), ((-0.2, 0.0), False), ((0.1, 0.2), True), ((-0.2, -0.1), True)],
)
def test_interval_that_ends_at_zero_includes_it(interval, excludes):
    assert Difference("a", "b", (), 0.1, interval, "").excludes_zero is excludes


def test_final_training_loss_is_mean_of_last_tenth(make_run):
    train = [(100 * k, 1.0 * k, 5.0 if k < 9 else 1.0 + (k - 9)) for k in range(1, 11)]
    assert final_training_nats(make_run(None, train=train)) == pytest.approx(1.5)
    assert final_training_nats(make_run(None, train=[])) is None


def test_mixed_likelihoods_raise(make_run):
    mixed = Arm("both", [make_run(2.0, 1), make_run(1.0, 2, causal=False)])
    with pytest.raises(ValueError, match="pseudo"):
        summarize(mixed)
    comparison = Comparison("t", [mixed], "c")
    assert [run.seed for run in comparison.restrict(causal=True).runs] == [1]
    assert [run.seed for run in comparison.restrict(causal=False).runs] == [2]
