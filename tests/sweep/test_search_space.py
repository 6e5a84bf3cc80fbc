"""The candidates of a sweep."""

from __future__ import annotations

import math
from itertools import islice

import pytest

from charlstm.config.search_space import Range, grid_candidates, random_candidates
from charlstm.sweep.halving import number_promoted, promoted, trained_at_rungs


def draw(space, count, seed=1, whole=(), reduce=lambda candidate: candidate):
    return list(islice(random_candidates(space, whole, seed, reduce), count))


def test_first_candidates_do_not_depend_on_their_number():
    space = {"rate": Range(min=1e-3, max=1e-1, scale="log"), "cell": ["lstm", "gru", "rnn"]}
    assert draw(space, 40)[:10] == draw(space, 10)
    assert draw(space, 10, seed=2) != draw(space, 10)


def test_drawn_candidates_are_those_of_earlier_versions():
    space = {"rate": Range(min=1e-3, max=1e-1, scale="log"), "cell": ["lstm", "gru"], "size": Range(min=1, max=9)}
    assert draw(space, 2, whole=("size",)) == [
        {"rate": 0.00186, "cell": "gru", "size": 7},
        {"rate": 0.00324, "cell": "lstm", "size": 5},
    ]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_numbers_are_uniform_on_their_scale(scale):
    span = Range(min=1, max=10_000, scale=scale)
    values = [span.draw(k / 2000, is_whole=False) for k in range(2000)]
    low, high = (0, math.log(10_000)) if scale == "log" else (1, 10_000)
    on_scale = [((math.log(v) if scale == "log" else v) - low) / (high - low) for v in values]
    counts = [sum(k / 4 <= value < (k + 1) / 4 for value in on_scale) for k in range(4)]
    assert all(495 < count < 505 for count in counts)
    assert all(float(f"{value:.3g}") == value for value in values)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_whole_numbers_include_both_ends(scale):
    whole = Range(min=2, max=5, scale=scale)
    drawn = [whole.draw(k / 1000, is_whole=True) for k in range(1000)]
    assert set(drawn) == {2, 3, 4, 5}
    assert drawn == sorted(drawn)
    if scale == "linear":
        assert [drawn.count(n) for n in (2, 3, 4, 5)] == [250] * 4


def test_candidates_differ_and_end_with_the_space():
    space = {"cell": ["lstm", "gru"], "size": Range(min=1, max=3)}
    assert len(draw(space, 100, whole=("size",))) == 6


def test_values_without_effect_make_no_further_candidate():
    def reduce(candidate):
        return candidate if candidate["cell"] == "lstm" else {"cell": candidate["cell"]}

    space = {"cell": ["lstm", "rnn"], "bias": [0, 1, 2]}
    assert len(draw(space, 100, reduce=reduce)) == 4
    assert grid_candidates(space, (), reduce) == [
        {"cell": "lstm", "bias": 0},
        {"cell": "lstm", "bias": 1},
        {"cell": "lstm", "bias": 2},
        {"cell": "rnn"},
    ]


def test_grid_has_evenly_spaced_values():
    space = {"rate": Range(min=1e-3, max=1e-1, scale="log", count=3), "size": Range(min=8, max=16, count=3)}
    grid = grid_candidates(space, ("size",), lambda candidate: candidate)
    assert [tuple(candidate.values()) for candidate in grid[:4]] == [(1e-3, 8), (1e-3, 12), (1e-3, 16), (0.01, 8)]
    assert len(grid) == 9


@pytest.mark.parametrize(("candidates", "factor", "kept"), [(9, 3, 3), (10, 3, 4), (1, 3, 1), (5, 1.5, 4), (6, 1.5, 4)])
def test_one_in_the_factor_goes_on_rounded_up(candidates, factor, kept):
    assert number_promoted(candidates, factor) == kept


def test_best_candidates_go_on_and_never_a_diverged_one():
    scores = {1: 2.0, 2: 1.5, 3: math.inf, 4: 1.5, 5: math.inf, 6: 3.0}
    assert promoted(scores, 3) == [2, 4]
    assert promoted(scores, 6) == [2]
    assert promoted(scores, 1.1) == [1, 2, 4, 6]
    assert trained_at_rungs(18, [0.1, 0.3], 3) == [18, 6, 2]
