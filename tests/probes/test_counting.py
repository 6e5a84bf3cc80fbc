"""Counting, on networks that are known to count and on ones that are known to fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from counter import counter
from latch import latch
from small_models import assert_unchanged

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.counting import accepted, counting_unit, longest_accepted, trajectory
from charlstm.text.vocabulary import Vocabulary

AB, ABC = Vocabulary(tuple(".ab")), Vocabulary(tuple(".abc"))


def accepts(model: LanguageModel, vocabulary: Vocabulary, n: int, letters: str = "ab") -> bool:
    return accepted(model, vocabulary, [n], letters) == {n: True}


def running_count(text: str) -> list[int]:
    """The number of a minus the number of b after each character."""
    return [text[: t + 1].count("a") - text[: t + 1].count("b") for t in range(len(text))]


@pytest.mark.parametrize("n", [1, 2, 7, 50, 1000])
def test_the_counter_accepts(n):
    assert accepts(counter(AB), AB, n)
    assert accepts(counter(ABC, "abc"), ABC, n, "abc")


def test_counter_accepts_to_a_thousand_and_is_unchanged():
    network = counter(AB).train()
    with assert_unchanged(network):
        assert longest_accepted(accepted(network, AB, [1, 10, 100, 1000, 400])) == 1000
        assert longest_accepted(accepted(network, AB, range(1, 70))) == 69


def test_counter_of_two_letters_rejects_a_third():
    assert not accepts(counter(ABC, "ab"), ABC, 3, "abc")
    assert not accepts(counter(ABC, "abc"), ABC, 3, "ab"), "it predicts c, not the end mark"


@pytest.mark.parametrize("logit", [8.0, 5.0, 3.0, 1.0])
def test_leaking_count_fails_at_the_computed_length(logit):
    forget = 1 / (1 + math.exp(-logit))

    def right(n: int) -> bool:
        c = 0.0
        for _ in range(n):
            c = forget * c + 1
        for b in range(1, n + 1):
            c = forget * c - 1
            goes_on = 40 * math.tanh(c) > max(0.0, 5.0)
            if goes_on != (b < n):
                return False
        return True

    expected = next((n - 1 for n in range(1, 200) if not right(n)), 199)
    network = counter(AB, forget_bias=logit)
    assert longest_accepted(accepted(network, AB, range(1, 200))) == expected
    assert 0 < expected < 199
    assert not accepts(network, AB, expected + 1)
    assert longest_accepted(accepted(network, AB, [expected + 1, expected + 2])) == 0


def test_only_predictions_after_the_first_b_count():
    network = counter(AB)
    with torch.no_grad():
        network.head.bias[1] = 4.9  # a over b, but never over the end mark
    assert accepts(network, AB, 5)
    with torch.no_grad():
        network.head.bias[1] = 5.1
    assert not accepts(network, AB, 5)


def test_end_too_early_or_too_late_is_rejected():
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
    with assert_unchanged(network):
        states = trajectory(network, AB, text)
    assert states["c"].shape == states["h"].shape == (len(text), 1, 3)
    np.testing.assert_array_equal(states["c"][:, 0, 2], running_count(text))
    np.testing.assert_array_equal(states["c"][:, 0, 1], np.arange(1, len(text) + 1))
    np.testing.assert_allclose(states["h"], np.tanh(states["c"]), rtol=1e-6)
    result = counting_unit(states, running_count(text))
    assert (result.letter, result.layer, result.unit) == ("c", 0, 2)
    assert result.correlation == pytest.approx(1, abs=1e-12)
    assert (result.rise, result.fall) == (1, -1)


def test_counting_unit_may_count_down_in_any_layer():
    generator = np.random.default_rng(1)
    counts = np.array([1, 2, 3, 4, 3, 2, 1, 0], float)
    states = {letter: generator.normal(size=(8, 2, 3)) for letter in "hc"}
    states["h"][:, 1, 0] = 7 - 0.25 * counts
    states["c"][:, 0, 0] = 3.0
    result = counting_unit(states, counts)
    assert (result.letter, result.layer, result.unit) == ("h", 1, 0)
    assert result.correlation == pytest.approx(-1)
    assert (result.rise, result.fall) == (-0.25, 0.25)
    counts = counts + np.array([0, 0, 0, 0, 1, 1, 1, 1])  # it stays at 4 for a step, at which the unit moves
    result = counting_unit(states, counts)
    assert (result.rise, result.fall) == (-0.25, 0.25)
    noisy = counts + states["c"][:, 1, 1]
    states["h"][:, 1, 0] = noisy
    assert counting_unit(states, counts).correlation == pytest.approx(np.corrcoef(noisy, counts)[0, 1])


def test_constant_units_have_zero_correlation():
    result = counting_unit({"h": np.ones((3, 1, 2))}, [1, 2, 3])
    assert (result.correlation, result.rise) == (0, 0)
    assert math.isnan(result.fall)


def test_invalid_arguments_are_refused():
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
