"""The n-gram model against a naive implementation with dictionaries, and against values computed by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from charlstm.probes import ngram
from charlstm.probes.ngram import NGram


class Dictionaries:
    """Interpolated modified Kneser-Ney, one k-gram at a time."""

    def __init__(self, text: list[int], symbols: int, order: int) -> None:
        self.symbols, self.order = symbols, order
        self.counts: list[dict[tuple[int, ...], int]] = [{}]
        for k in range(1, order + 1):
            positions = range(len(text) - k + 1)
            if k == order:
                self.counts.append(dict(Counter(tuple(text[p : p + k]) for p in positions)))
                continue
            before: dict[tuple[int, ...], set[int]] = {}
            for p in positions:
                before.setdefault(tuple(text[p : p + k]), set()).add(text[p - 1] if p else -1)
            self.counts.append({run: len(result) for run, result in before.items()})
        self.discounts = [self._discount(list(counts.values())) for counts in self.counts]

    @staticmethod
    def _discount(counts: list[int]) -> list[float]:
        n1, n2, n3, n4 = (sum(c == i for c in counts) for i in (1, 2, 3, 4))
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            result = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(0 < d <= i for i, d in enumerate(result, 1)):
                return [0, *result]
        return [0, 0.5, 1, 1.5]

    def p(self, context: tuple[int, ...], symbol: int) -> float:
        shorter = self.p(context[1:], symbol) if context else 1 / self.symbols
        counts, discount = self.counts[len(context) + 1], self.discounts[len(context) + 1]
        continuations = {w: counts[(*context, w)] for w in range(self.symbols) if (*context, w) in counts}
        if not continuations:
            return shorter
        total = sum(continuations.values())
        left = sum(discount[min(c, 3)] for c in continuations.values()) / total
        count = continuations.get(symbol, 0)
        return (count - discount[min(count, 3)]) / total + left * shorter

    def at(self, text: list[int], position: int) -> list[float]:
        context = tuple(text[max(0, position - self.order + 1) : position])
        return [self.p(context, w) for w in range(self.symbols)]


def words(seed: int, characters: int, symbols: int) -> np.ndarray:
    """A text with structure: words of a small lexicon, so that counts of all sizes occur."""
    generator = np.random.default_rng(seed)
    lexicon = [generator.integers(symbols, size=generator.integers(1, 7)) for _ in range(40)]
    weights = 1 / np.arange(1, 41)
    drawn = generator.choice(40, size=characters, p=weights / weights.sum())
    return np.concatenate([lexicon[k] for k in drawn])[:characters].astype(np.uint8)


@pytest.mark.parametrize("symbols", [2, 9, 30])
@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_probabilities_equal_the_naive_formulas(order, symbols):
    training, text = words(1, 600, symbols), np.append(words(2, 60, symbols), np.arange(symbols)).astype(np.uint8)
    model, expected = NGram(training, symbols, order), Dictionaries(training.tolist(), symbols, order)
    actual = model.predict(text)
    p = np.array([expected.at(text.tolist(), position) for position in range(len(text))])
    np.testing.assert_allclose(np.exp(-actual.nats), p[np.arange(len(text)), text], rtol=1e-9)
    np.testing.assert_array_equal(actual.correct, p[np.arange(len(text)), text] == p.max(1))


def test_some_discounts_are_estimated_and_some_are_not():
    """So that the comparison above covers both."""
    training = words(1, 600, 30)
    estimated = [list(d[1:]) != [0.5, 1, 1.5] for d in Dictionaries(training.tolist(), 30, 5).discounts[1:]]
    assert any(estimated)
    assert not all(estimated)


def test_discounts_by_hand():
    """n = 10, 5, 3, 2: Y = 1/2, 1 - 2 Y 5/10, 2 - 3 Y 3/5, 3 - 4 Y 2/3."""
    counts = np.repeat([1, 2, 3, 4, 9], [10, 5, 3, 2, 50])
    assert ngram._discounts(counts) == pytest.approx((0.5, 1.1, 5 / 3))
    assert ngram._discounts(counts[counts != 3]) == (0.5, 1, 1.5)
    assert ngram._discounts(np.repeat([1, 2, 3, 4], [2, 5, 30, 2])) == (0.5, 1, 1.5), "estimates below 0 are invalid"


def test_single_characters_by_hand():
    """Of a a b: (2 - 1) / 3 + (1.5 / 3) / 2 and (1 - 0.5) / 3 + (1.5 / 3) / 2."""
    result = NGram(np.array([0, 0, 1]), 2, 1).predict(np.array([0, 1]))
    np.testing.assert_allclose(np.exp(-result.nats), [7 / 12, 5 / 12])
    assert result.correct.tolist() == [True, False]


def test_every_distribution_sums_to_one():
    model, text = NGram(words(3, 5000, 20), 25, 6), words(4, 40, 25)
    for end in range(len(text)):
        p = [math.exp(-model.predict(np.append(text[:end], symbol)).nats[-1]) for symbol in range(25)]
        assert sum(p) == pytest.approx(1, rel=1e-12)
        assert min(p) > 0, "symbols missing from the training text have p > 0"


def test_character_of_a_single_context_is_improbable_elsewhere():
    """z always follows y: it is frequent in the text, but improbable in a new context."""
    text = np.array([0, 1, 2, 0, 3, 2, 1, 3, 0, 2] * 5 + [4, 5] * 50)
    after_new = NGram(text, 7, 2).predict(np.array([6, 5, 6, 2]))
    frequency = NGram(text, 7, 1).predict(np.array([5, 2]))
    assert frequency.nats[0] < frequency.nats[1]
    assert after_new.nats[1] > after_new.nats[3]


def test_higher_order_lowers_the_loss():
    training, text = words(1, 20_000, 9), words(1, 25_000, 9)[20_000:]
    means = [NGram(training, 9, order).predict(text).nats.mean() for order in (1, 2, 4)]
    assert means[0] - 0.1 > means[1] > means[2] + 0.1
    assert means[0] == pytest.approx(-sum(p * math.log(p) for p in np.bincount(training) / 20_000 if p), abs=0.05)


def test_a_large_vocabulary_and_a_high_order():
    """Whose k-grams have more combinations than a 64-bit integer."""
    training = np.random.default_rng(1).integers(9000, size=3000).astype(np.uint16)
    result = NGram(training, 9000, 12).predict(training)
    assert result.correct[1:].mean() > 0.8


def test_first_position_has_no_context():
    training, text = words(1, 300, 9), np.array([3])
    training.flags.writeable = text.flags.writeable = False
    actual = NGram(training, 9, 4).predict(text)
    expected = Dictionaries(training.tolist(), 9, 4).p((), 3)
    np.testing.assert_allclose(np.exp(-actual.nats), [expected])


@pytest.mark.parametrize("order", [0, 4])
def test_order_out_of_range_is_refused(order):
    with pytest.raises(ValueError, match=f"1 up to the 3 characters .* found {order}"):
        NGram(np.zeros(3, np.uint8), 1, order)


def test_progress_is_reported_for_each_order():
    fractions = []
    NGram(np.random.default_rng(1).integers(0, 4, 500), 4, 5, fractions.append)
    np.testing.assert_allclose(fractions, np.arange(1, 10) / 10)
