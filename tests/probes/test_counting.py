"""Counting, on networks that are known to count and on ones that are known to lose count."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from counter import counter
from latch import latch
from small_models import left_alone

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.counting import accepts, counting_unit, longest_accepted, trajectory
from charlstm.text.vocabulary import Vocabulary

AB, ABC = Vocabulary(tuple(".ab")), Vocabulary(tuple(".abc"))


def running(text: str) -> list[int]:
    """The number of a less the number of b after each character."""
    return [text[: t + 1].count("a") - text[: t + 1].count("b") for t in range(len(text))]


@pytest.mark.parametrize("n", [1, 2, 7, 50, 1000])
def test_the_counter_accepts(n):
    assert accepts(counter(AB), AB, n)
    assert accepts(counter(ABC, "abc"), ABC, n, "abc")


def test_the_counter_accepts_to_a_thousand_and_is_left_alone():
    network = counter(AB).train()
    with left_alone(network):
        assert longest_accepted(network, AB, [1, 10, 100, 1000, 400]) == 1000
        assert longest_accepted(network, AB, range(1, 70)) == 69


def test_a_counter_of_two_letters_does_not_know_the_third():
    assert not accepts(counter(ABC, "ab"), ABC, 3, "abc")
    assert not accepts(counter(ABC, "abc"), ABC, 3, "ab"), "it wants c, not the end mark"


@pytest.mark.parametrize("logit", [8.0, 5.0, 3.0, 1.0])
def test_a_count_that_leaks_is_lost_where_arithmetic_says(logit):
    kept = 1 / (1 + math.exp(-logit))

    def right(n: int) -> bool:
        c = 0.0
        for _ in range(n):
            c = kept * c + 1
        for b in range(1, n + 1):
            c = kept * c - 1
            goes_on = 40 * math.tanh(c) > max(0.0, 5.0)
            if goes_on != (b < n):
                return False
        return True

    wanted = next((n - 1 for n in range(1, 200) if not right(n)), 199)
    network = counter(AB, kept=logit)
    assert longest_accepted(network, AB, range(1, 200)) == wanted
    assert 0 < wanted < 199
    assert not accepts(network, AB, wanted + 1)
    assert longest_accepted(network, AB, [wanted + 1, wanted + 2]) == 0


def test_the_end_mark_and_nothing_before_the_first_b_counts():
    network = counter(AB)
    with torch.no_grad():
        network.head.bias[1] = 4.9  # a rather than b, but never rather than the end mark
    assert accepts(network, AB, 5)
    with torch.no_grad():
        network.head.bias[1] = 5.1
    assert not accepts(network, AB, 5)


def test_one_too_early_or_too_late_is_refused():
    network = counter(AB)
    with torch.no_grad():
        network.head.bias[0] = 40 * (math.tanh(1) + math.tanh(2)) / 2
    assert accepts(network, AB, 1)
    assert not accepts(network, AB, 2)
    with torch.no_grad():
        network.head.bias[0] = -1.0
    assert not accepts(network, AB, 1)


@pytest.mark.parametrize("texts", [["a" * 9 + "b" * 9], ["aaab", "abbaabbb"]])
def test_the_counting_unit_is_found(texts):
    text = "".join(texts)
    network = counter(AB)
    with left_alone(network):
        along = trajectory(network, AB, text)
    assert along["c"].shape == along["h"].shape == (len(text), 1, 3)
    np.testing.assert_array_equal(along["c"][:, 0, 2], running(text))
    np.testing.assert_array_equal(along["c"][:, 0, 1], np.arange(1, len(text) + 1))
    np.testing.assert_allclose(along["h"], np.tanh(along["c"]), rtol=1e-6)
    found = counting_unit(along, running(text))
    assert (found.letter, found.layer, found.unit) == ("c", 0, 2)
    assert found.correlation == pytest.approx(1, abs=1e-12)
    assert (found.rise, found.fall) == (1, -1)


def test_a_unit_that_counts_down_and_the_layer_that_it_is_in():
    chance = np.random.default_rng(1)
    counts = np.array([1, 2, 3, 4, 3, 2, 1, 0], float)
    along = {letter: chance.normal(size=(8, 2, 3)) for letter in "hc"}
    along["h"][:, 1, 0] = 7 - 0.25 * counts
    along["c"][:, 0, 0] = 3.0
    found = counting_unit(along, counts)
    assert (found.letter, found.layer, found.unit) == ("h", 1, 0)
    assert found.correlation == pytest.approx(-1)
    assert (found.rise, found.fall) == (-0.25, 0.25)
    counts = counts + np.array([0, 0, 0, 0, 1, 1, 1, 1])  # it stays at 4 for a step, at which the unit moves
    found = counting_unit(along, counts)
    assert (found.rise, found.fall) == (-0.25, 0.25)
    noisy = counts + along["c"][:, 1, 1]
    along["h"][:, 1, 0] = noisy
    assert counting_unit(along, counts).correlation == pytest.approx(np.corrcoef(noisy, counts)[0, 1])


def test_nothing_that_changes_follows_nothing():
    found = counting_unit({"h": np.ones((3, 1, 2))}, [1, 2, 3])
    assert (found.correlation, found.rise) == (0, 0)
    assert math.isnan(found.fall)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="at least one of each letter, not 0"):
        accepts(counter(AB), AB, 0)
    with pytest.raises(UserError, match="'c'"):
        accepts(counter(AB), AB, 2, "abc")
    with pytest.raises(ValueError, match="3 counts, one for each step"):
        counting_unit({"h": np.ones((3, 1, 2))}, [1, 2])
    with pytest.raises(ValueError, match="not all the same"):
        counting_unit({"h": np.ones((3, 1, 2))}, [1, 1, 1])
    backward = LanguageModel(ModelConfig(hidden_size=3, direction="backward"), len(AB))
    with pytest.raises(UserError, match="direction: backward"):
        accepts(backward, AB, 2)


def test_a_latch_does_not_count():
    assert not accepts(latch(AB, "a", "b"), AB, 3)
