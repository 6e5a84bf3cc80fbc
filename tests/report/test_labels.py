"""Names shortened to distinct labels."""

from __future__ import annotations

import pytest

from charlstm.report.labels import MAX_LENGTH, distinct, short


def test_short_keeps_both_ends():
    assert short("lstm") == "lstm"
    assert short("peephole-on-a-long-text-7").startswith("peephole")
    assert short("peephole-on-a-long-text-7").endswith("text-7")
    assert len(short("x" * 99)) <= 16


def test_common_beginning_and_end_are_left_out():
    names = ["recall-20-lstm, bias 5-0.01-seed1", "recall-50-lstm, bias 5-0.01-seed1", "recall-50-rnn, irnn-0.01-seed1"]
    assert list(distinct(names).values()) == ["20-lstm, bias 5", "50-lstm, bias 5", "50-rnn, irnn"]
    assert (
        distinct(["a-long-name-of-a-run-seed1", "a-long-name-of-a-run-seed2"])["a-long-name-of-a-run-seed2"] == "seed2"
    )


def test_names_that_fit_stay():
    assert distinct(["lstm, bias 0", "lstm, bias 5", "lstm"]) == {
        "lstm, bias 0": "lstm, bias 0",
        "lstm, bias 5": "lstm, bias 5",
        "lstm": "lstm",
    }


@pytest.mark.parametrize(
    "names",
    [
        [f"{'x' * 30}{letter}{'y' * 30}" for letter in "abc"],
        ["rnn", "rnn-with-a-very-long-name", "rnn-with-another-long-name"],
        ["a-very-long-name-of-a-run", "a-very-long-name-of-a-run/"],
        ["x" * 40, "x" * 41, "", "-" * 20],
        [],
    ],
)
def test_labels_are_distinct_and_short(names):
    labels = distinct(names)
    assert list(labels) == names
    assert len(set(labels.values())) == len(names)
    assert all(len(label) <= 2 * MAX_LENGTH for label in labels.values())
