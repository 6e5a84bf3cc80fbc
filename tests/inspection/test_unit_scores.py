"""Units of interest are found where they are, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from bracket_counter import COUNTER, VOCABULARY, bracket_counter, brackets

from charlstm.inspection import unit_scores
from charlstm.inspection.recording import record
from charlstm.inspection.text_features import Feature, find_features
from charlstm.inspection.unit_scores import FIT, Unit, score_units
from charlstm.text.vocabulary import Vocabulary

RNG = np.random.default_rng(3)


def auc(values, has):
    """The probability that a value with the feature is the larger one, half for equal values."""
    differences = np.sign(values[has][:, None] - values[~has][None])
    return (1 + differences.mean()) / 2


def test_hand_set_counter_is_found_and_described():
    text = brackets(1500)
    ids = VOCABULARY.encode(text)
    recording = record(bracket_counter(), ids)
    scores = score_units(find_features(ids, VOCABULARY), recording.states, ids)
    by_name = {score.feature: score for score in scores}
    depth = by_name["depth of brackets"]
    assert scores[0] is depth or scores[1] is depth
    assert depth.units[0] == Unit("c", 0, COUNTER)
    assert depth.scores[0] == pytest.approx(1)
    assert depth.is_represented
    assert depth.sentence() == f"c of unit {COUNTER} of layer 1: depth of brackets, rank correlation 1.00"
    assert by_name["inside brackets"].scores[0] == pytest.approx(1)
    assert depth.baseline < 0.9
    assert depth.shifted < 0.5


def test_score_is_the_auc_on_the_rest_of_the_text():
    length = 200
    values = {"h": RNG.integers(0, 4, (length, 1, 3)).astype(np.float32)}
    has = (RNG.random(length) < 0.4) | (values["h"][:, 0, 1] == 0)
    ids = RNG.integers(0, 5, length)
    (score,) = score_units([Feature("something", True, has.astype(float))], values, ids, best=1)
    assert score.units == [Unit("h", 0, 1)]
    assert score.signs == [-1]
    rest = slice(int(FIT * length), None)
    assert score.scores[0] == pytest.approx(1 - auc(values["h"][rest, 0, 1], has[rest]))
    assert (score.measure, score.chance) == ("AUC", 0.5)


def test_a_next_unit_may_be_better_on_the_rest_of_the_text():
    """Units are selected on the first part of the text only."""
    length = 200
    split = int(FIT * length)
    has = RNG.random(length) < 0.5
    noise = RNG.normal(size=(length, 2))
    values = has[:, None] + np.where(np.arange(length)[:, None] < split, noise * [0, 1], noise * [1, 0])
    ids = RNG.integers(0, 5, length)
    (score,) = score_units([Feature("something", True, has.astype(float))], {"h": values[:, None]}, ids, best=2)
    assert score.units == [Unit("h", 0, 0), Unit("h", 0, 1)]
    assert score.scores[0] < 0.95
    assert score.scores[1] == pytest.approx(1)


def test_score_of_a_number_is_its_rank_correlation():
    length = 300
    number = RNG.integers(0, 20, length).astype(float)
    values = np.stack([RNG.normal(size=length), np.exp(number)], 1)[:, None].astype(np.float64)
    (score,) = score_units([Feature("count", False, number)], {"h": values}, RNG.integers(0, 5, length), best=2)
    assert score.units[0] == Unit("h", 0, 1)
    assert score.scores[0] == pytest.approx(1)
    assert abs(score.scores[1]) < 0.3
    assert score.measure == "rank correlation"


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_found_in_noise(seed):
    """Units of noise and some that follow the last character, with a feature of noise and one of this character."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 3, 1000)
    values = rng.normal(size=(1000, 2, 40)).astype(np.float32)
    values[:, 0, 7] = ids == 1
    features = [Feature("is 1", True, (ids == 1).astype(float)), Feature("noise", True, rng.integers(0, 2, 1000) * 1.0)]
    by_name = {score.feature: score for score in score_units(features, {"h": values}, ids)}
    assert not any(score.is_represented for score in by_name.values())
    assert by_name["is 1"].baseline == by_name["is 1"].scores[0] == pytest.approx(1)
    assert 0.5 <= by_name["noise"].shifted < 0.65


def test_baseline_knows_what_the_model_has_read():
    """Whether the next character is 1: a backward model has read it."""
    ids = RNG.integers(0, 3, 1000)
    feature = Feature("before 1", True, np.append(ids[1:] == 1, False).astype(float))
    values = {"h": RNG.normal(size=(1000, 1, 4))}
    forward, backward = (score_units([feature], values, ids, is_backward=flag)[0].baseline for flag in (False, True))
    assert forward < 0.6
    assert backward == pytest.approx(1)


def test_feature_that_can_rarely_be_shifted_is_not_of_interest(monkeypatch):
    """It has ten examples at the end of each part, the fewest that count: not all shifts leave as many in both."""
    monkeypatch.setattr(unit_scores, "MIN_SHIFTS", unit_scores.SHIFTS)
    has = np.zeros(1000)
    has[590:600] = has[990:] = 1
    values = {"h": has[:, None, None] + 0.01 * RNG.normal(size=(1000, 1, 3))}
    (score,) = score_units([Feature("rare", True, has)], values, RNG.integers(0, 9, 1000))
    assert score.scores[0] == pytest.approx(1)
    assert np.isnan(score.shifted)
    assert not score.is_represented


def test_feature_with_few_examples_is_left_out():
    ids = RNG.integers(0, 3, 100)
    rare = np.zeros(100)
    rare[[3, 80]] = 1
    values = {"h": RNG.normal(size=(100, 1, 2))}
    assert score_units([Feature("rare", True, rare)], values, ids) == []
    assert score_units([], values, ids) == []


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('say "a b" now', "inside quotes", "0000111100000"),
        ("f(x[1])y", "inside brackets", "01111100"),
        ("f(x[1])y", "depth of brackets", "01122100"),
        ("a /* b */ c", "inside a comment", "00111111100"),
        ("a # b\nc", "inside a comment", "0011100"),
        ("see http://x.y", "inside a comment", None),
        ("#include <a>\n#!x", "inside a comment", "0000000000000111"),
        ("a<!-- b -->", "inside a comment", "01111111111"),
        ("приВЕТ АБ ab", "in a word in capitals", "000000011000"),
        ("a <b c> d", "inside a tag", "001111100"),
        ("The NATO of", "in a word in capitals", "00001111000"),
        ("ab\nc\n", "before a line end", "01010"),
        ("Oh. No!", "at the end of a sentence", "0010001"),
        ("a Bc", "letter", "1011"),
        ("a Bc", "capital letter", "0010"),
        ("ab e", "vowel", "1001"),
        ("a1.2", "digit", "0101"),
        ("a b\n", "space", "0101"),
        ("a,b ", "punctuation", "0100"),
        ("a\n  b\nc", "indentation", "0000220"),
        ("ab\nc", "position in the line", "1201"),
        ("ab cd", "position in the word", "12012"),
        ("ab c1", "length of the word", "22010"),
    ],
)
def test_features_of_a_text(text, name, expected):
    vocabulary = Vocabulary.from_text(text)
    features = {one.name: one for one in find_features(vocabulary.encode(text), vocabulary)}
    if expected is None:
        assert name not in features
        return
    assert "".join(f"{value:g}" for value in features[name].values) == expected
    assert features[name].is_binary == (
        name not in ("depth of brackets", "indentation", "length of the word") and "position" not in name
    )


def test_bytes_have_the_class_of_their_character():
    vocabulary = Vocabulary.from_text("aÄé1 ".encode())
    features = {one.name: one.values for one in find_features(vocabulary.encode("aÄé1 ".encode()), vocabulary)}
    assert features["letter"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert features["capital letter"].tolist() == [0, 1, 1, 0, 0, 0, 0]
