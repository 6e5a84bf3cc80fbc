"""Dependent characters of short texts, and the predictions there."""

from __future__ import annotations

import numpy as np
import pytest

from charlstm.evaluation import TokenPredictions
from charlstm.probes.dependencies import dependency_losses, find_dependencies
from charlstm.text.vocabulary import Vocabulary


def kinds_of(text: str | bytes) -> dict[str, list[tuple[int, int]]]:
    vocabulary = Vocabulary.from_text(text)
    return {
        one.kind: list(zip(one.positions.tolist(), one.distances.tolist(), strict=True))
        for one in find_dependencies(vocabulary.encode(text), vocabulary)
    }


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("(a) [b]", "closing bracket", [(2, 2), (6, 2)]),
        ('"ab" c', "closing quote", [(3, 3)]),
        ("ab\nc\n", "line end", [(2, 2), (4, 1)]),
        ("a\n  b\n  c\nd", "indentation", [(4, 4), (8, 4)]),
        ("a\n\n \n  b", "indentation", [(7, 7)]),
        ("  a\nb", "indentation", None),
        ("\ta:\n\t\tb", "indentation", [(6, 5)]),
        ("ANN:\nx\n\nBO:\ny\n\nANN:\nz", "speaker", [(15, 15), (16, 15), (17, 15)]),
        ("First Man:\nx\nFirst Man:\n", "speaker", [(13 + n, 13) for n in range(9)]),
        ("ANN: said\nANN: said\n", "speaker", None),
        ("12:\n12:\n", "speaker", None),
        ("word, word", "repeated word", [(7, 6), (8, 6), (9, 6)]),
        ("word, word", "new word", [(1, 0), (2, 0), (3, 0)]),
        ("word Word words", "repeated word", None),
        ("the the", "new word", None),
        ("abcd abcd x abcd", "repeated word", [(6, 5), (7, 5), (8, 5), (13, 7), (14, 7), (15, 7)]),
    ],
)
def test_positions_and_distances(text, kind, expected):
    assert kinds_of(text).get(kind) == expected


def test_positions_count_bytes_or_characters():
    assert kinds_of("(é) (é)")["closing bracket"] == [(2, 2), (6, 2)]
    assert kinds_of("(é) (é)".encode())["closing bracket"] == [(3, 3), (8, 3)]


def test_long_line_of_capitals_takes_no_time():
    assert "speaker" not in kinds_of("A" * 20_000 + " " + "A-" * 20_000)


def test_losses_are_those_of_the_positions_in_each_bin():
    text = "word " + "-" * 20 + " word word"
    vocabulary = Vocabulary.from_text(text)
    dependencies = find_dependencies(vocabulary.encode(text), vocabulary)
    nats = np.arange(len(text)) / 10
    losses = dependency_losses(dependencies, TokenPredictions(nats, nats > 3))
    rows = {(one.kind, one.low, one.high): one for one in losses}
    assert set(rows) == {("repeated word", 1, 9), ("repeated word", 20, 49), ("new word", 0, 0)}
    far = rows["repeated word", 20, 49]
    np.testing.assert_array_equal(far.positions, [27, 28, 29])
    np.testing.assert_allclose(far.nats, [2.7, 2.8, 2.9])
    np.testing.assert_array_equal(far.correct, [False] * 3)
    np.testing.assert_array_equal(rows["repeated word", 1, 9].correct, [True] * 3)


def test_distances_beyond_the_last_bound_are_counted():
    text = "word" + "-" * 2000 + "word"
    vocabulary = Vocabulary.from_text(text)
    zeros = np.zeros(len(text))
    losses = dependency_losses(
        find_dependencies(vocabulary.encode(text), vocabulary), TokenPredictions(zeros, zeros == 0)
    )
    assert [(one.kind, one.low, one.high) for one in losses] == [("repeated word", 1000, None), ("new word", 0, 0)]


def test_text_without_dependencies_has_none():
    assert kinds_of("a b") == {}


def test_predictions_of_a_shorter_text_are_refused():
    vocabulary = Vocabulary.from_text("(ab)")
    with pytest.raises(ValueError, match="another text, of 3 characters"):
        dependency_losses(
            find_dependencies(vocabulary.encode("(ab)"), vocabulary),
            TokenPredictions(np.zeros(3), np.zeros(3) == 0),
        )
