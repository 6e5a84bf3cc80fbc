"""Held-out bits of n-gram models."""

from __future__ import annotations

import numpy as np
import pytest

from charlstm.probes import ngram_scores
from charlstm.probes.ngram import NGram
from charlstm.probes.ngram_scores import ngram_bits

TEXT = np.random.default_rng(1).integers(0, 5, 600) ** 2 % 5


@pytest.mark.parametrize("orders", [[1], [4], [1, 2, 3], [2, 5]])
def test_models_of_several_orders_equal_single_ones(orders):
    for order, model in zip(orders, NGram.of_orders(TEXT[:500], 5, orders), strict=True):
        expected = NGram(TEXT[:500], 5, order).predict(TEXT[500:])
        result = model.predict(TEXT[500:])
        assert model.order == order
        np.testing.assert_array_equal(result.nats, expected.nats)
        np.testing.assert_array_equal(result.correct, expected.correct)


def test_bits_of_each_order():
    seen = []
    scores = ngram_bits(TEXT[:500], TEXT[500:], 5, range(1, 4), seen.append)
    assert seen == list(scores) == [1, 2, 3]
    assert scores[2] == pytest.approx(NGram(TEXT[:500], 5, 2).predict(TEXT[500:]).nats.mean() / np.log(2))


def test_long_texts_are_cut_and_short_ones_have_fewer_orders(monkeypatch):
    expected = ngram_bits(TEXT[-3:], TEXT[:50], 5, range(1, 4))
    assert list(expected) == [1, 2, 3]
    monkeypatch.setattr(ngram_scores, "LIMIT", 3)
    monkeypatch.setattr(ngram_scores, "HELD_OUT_LIMIT", 50)
    assert ngram_bits(TEXT, TEXT, 5, range(1, 8)) == expected
    assert ngram_bits(TEXT, TEXT[:0], 5, range(1, 8)) == {}
