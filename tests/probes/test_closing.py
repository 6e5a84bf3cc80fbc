"""Closing characters of a text, and the predictions there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.evaluation import TokenPredictions, predict_tokens
from charlstm.model import LanguageModel
from charlstm.probes.closing import Discrimination, DistanceBin, closing_accuracy, find_closing_characters
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


def test_inside_and_outside_masks():
    text = "a(b(c)d)e)f"
    vocabulary = Vocabulary.from_text(text)
    (closing,) = find_closing_characters(vocabulary.encode(text), vocabulary)
    assert closing.kind == "bracket"
    assert vocabulary.symbols[closing.id] == closing.symbol == ")"
    assert "".join(np.array(list(text))[closing.inside]) == "b(cd"
    assert "".join(np.array(list(text))[closing.outside]) == "a(ef"


def test_bins_and_discrimination_by_hand():
    """Two pairs close at distance 2 and one at 12."""
    text = "(a) [b] (" + "c" * 11 + ")"
    vocabulary = Vocabulary.from_text(text)
    result = find_closing_characters(vocabulary.encode(text), vocabulary)
    closers = [2, 6, 20]
    nats, right, n = np.full(len(text), 9.0), np.zeros(len(text), bool), len(text)
    nats[closers], right[[2, 20]] = [1.0, 3.0, 0.5], True
    p = np.full((n, 2), 0.1)
    p[closers, [0, 1, 0]] = np.exp([-1.0, -3.0, -0.5])
    p[[1, *range(9, 20)], 0] = 0.2
    p[5, 1] = 0.3
    symbols = (vocabulary.symbols.index(")"), vocabulary.symbols.index("]"))
    (closing,) = closing_accuracy(result, TokenPredictions(nats, right, symbols, -np.log(p)))
    assert closing.kind == "bracket"
    assert closing.bins == (DistanceBin(1, 9, 2, 1, 2.0), DistanceBin(10, 19, 1, 1, 0.5))
    assert [b.accuracy for b in closing.bins] == [0.5, 1.0]
    round_, square = closing.discrimination
    assert (round_.symbol, square.symbol) == (")", "]")
    mean = (np.exp(-1) + np.exp(-0.5)) / 2
    assert (round_.closing, round_.inside, round_.outside) == pytest.approx((mean, 0.2, 0.1))
    assert (square.closing, square.inside, square.outside) == pytest.approx((np.exp(-3), 0.3, 0.1))


def test_the_last_bin_has_no_end():
    text = "a" * 1500 + "\n" + "b" * 199 + "\n"
    vocabulary = Vocabulary.from_text(text)
    result = find_closing_characters(vocabulary.encode(text), vocabulary)
    zeros = np.zeros(len(text))
    (closing,) = closing_accuracy(result, TokenPredictions(zeros, zeros == 0, (result[0].id,), zeros[:, None]))
    assert closing.kind == "line end"
    assert closing.bins == (DistanceBin(100, 199, 1, 1, 0.0), DistanceBin(200, None, 1, 1, 0.0))
    assert closing.discrimination == (Discrimination("\n", 1.0, 1.0, 1.0),)


def test_text_without_closing_characters():
    vocabulary = Vocabulary.from_text("abc")
    assert (
        closing_accuracy(
            find_closing_characters(vocabulary.encode("abc"), vocabulary), TokenPredictions(*[np.zeros(3)] * 2, (), 0)
        )
        == ()
    )


def test_only_a_long_enough_ngram_predicts_closing_brackets():
    """After the bracket come four letters, then its close; three letters of context do not determine the position."""
    text = "(aaaa)bbbbb" * 50
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text).astype(np.uint8)
    result = find_closing_characters(ids, vocabulary)
    results = {}
    for order in (4, 6):
        (closing,) = closing_accuracy(result, NGram(ids, vocabulary.size, order).predict(ids, [result[0].id]))
        (only,) = closing.bins
        assert only.count == 50
        (discrimination,) = closing.discrimination
        results[order] = only.accuracy, discrimination.closing, discrimination.inside
    assert results[4][0] == 0
    assert results[4][1] == pytest.approx(0.5, abs=0.1), "after three letters, of two"
    assert results[6][0] > 0.95
    assert results[6][1] > 0.9
    assert results[6][2] < 0.05


def test_closing_accuracy_of_a_network():
    """A network that always predicts a closing bracket is always right, with the same p inside and outside."""
    text = "a (b) (cc)\n" * 9
    vocabulary = Vocabulary.from_text(text)
    model = LanguageModel(ModelConfig(hidden_size=4), vocabulary.size)
    ids = vocabulary.encode(text)
    result = find_closing_characters(ids, vocabulary)
    bracket = next(s for s in result if s.symbol == ")")
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[bracket.id] = 5
    brackets, lines = closing_accuracy(result, predict_tokens(model, ids, [s.id for s in result]))
    assert [(b.count, b.accuracy) for b in brackets.bins] == [(18, 1.0)]
    assert [(b.count, b.accuracy) for b in lines.bins] == [(9, 0.0)]
    (discrimination,) = brackets.discrimination
    p = np.exp(5) / (np.exp(5) + vocabulary.size - 1)
    assert (discrimination.closing, discrimination.inside, discrimination.outside) == pytest.approx((p, p, p), abs=1e-5)


def test_predictions_of_another_text_are_refused():
    vocabulary = Vocabulary.from_text("(ab)")
    result = find_closing_characters(vocabulary.encode("(ab)"), vocabulary)
    zeros = np.zeros(4)
    for characters, symbols in ((3, (result[0].id,)), (4, ())):
        with pytest.raises(ValueError, match="another text, or do not include"):
            closing_accuracy(
                result, TokenPredictions(zeros[:characters], zeros[:characters] == 0, symbols, zeros[:, None])
            )
