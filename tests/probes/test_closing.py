"""Closing characters of a text, and the predictions there."""

from __future__ import annotations

import numpy as np
import pytest

from charlstm.probes.closing import find_closing_characters
from charlstm.probes.dependencies import dependency_losses, find_dependencies
from charlstm.probes.ngram import NGram
from charlstm.text.vocabulary import Vocabulary


def closing_spans(text: str | bytes, symbols: str = ')]}"'):
    """For each symbol, its closing positions and the distances to the openers."""
    vocabulary = Vocabulary.from_text(text)
    result = find_closing_characters(vocabulary.encode(text).astype(np.uint8), vocabulary)
    return {
        s.symbol: list(zip(s.positions.tolist(), s.distances.tolist(), strict=True))
        for s in result
        if s.symbol in symbols
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a)", {")": [(2, 2)]}),
        ("()", {")": [(1, 1)]}),
        ("f(a[1], {b: (c)})", {")": [(14, 2), (16, 15)], "]": [(5, 2)], "}": [(15, 7)]}),
        ("a) b", {}),
        ("(a) b)", {")": [(2, 2)]}),
        ("(a", {}),
        ("(a [b)]", {")": [(5, 5)]}),
        ("(a\n\nb)", {")": [(5, 5)]}),
        ('say "hi" or "ho"', {'"': [(7, 3), (15, 3)]}),
        ('"one\ntwo"', {'"': [(8, 8)]}),
        ('"one\n \ntwo" "x"', {'"': [(12, 2)]}),
        (r'"a\"b" "\\"', {'"': [(5, 5), (10, 3)]}),
        ('"""long "word" here."""', {'"': [(13, 5)]}),
        ('f("", "x")', {'"': [(8, 2)], ")": [(9, 8)]}),
        ("(" + "a" * 999 + ")", {")": [(1000, 1000)]}),
        ("(" + "a" * 1000 + ")", {}),
        ('"' + "a" * 1000 + '"b"', {'"': [(1003, 2)]}),
    ],
)
def test_closing_positions_and_distances(text, expected):
    assert closing_spans(text) == expected


def test_line_ends():
    assert closing_spans("ab\n\n c\nd", "\n") == {"\n": [(2, 2), (6, 2)]}
    assert closing_spans("ab\r\ncde\n", "\n") == {"\n": [(7, 3)]}


def test_positions_count_bytes_or_characters():
    assert closing_spans("(é)") == {")": [(2, 2)]}
    assert closing_spans("(é)".encode()) == {")": [(3, 3)]}


def test_text_without_closing_characters():
    vocabulary = Vocabulary.from_text("abc")
    assert find_closing_characters(vocabulary.encode("abc"), vocabulary) == ()


def test_only_a_long_enough_ngram_predicts_closing_brackets():
    """After the bracket come four letters, then its close; three letters of context do not determine the position."""
    text = "(aaaa)bbbbb" * 50
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text).astype(np.uint8)
    brackets = [one for one in find_dependencies(ids, vocabulary) if one.kind == "closing bracket"]
    accuracy = {}
    for order in (4, 6):
        (only,) = dependency_losses(brackets, NGram(ids, vocabulary.size, order).predict(ids))
        assert len(only.positions) == 50
        accuracy[order] = only.correct.mean(), np.exp(-only.nats.mean())
    assert accuracy[4][0] == 0
    assert accuracy[4][1] == pytest.approx(0.5, abs=0.1), "after three letters, of two"
    assert accuracy[6][0] > 0.95
    assert accuracy[6][1] > 0.9
