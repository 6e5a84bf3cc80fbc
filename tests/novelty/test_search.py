from __future__ import annotations

import numpy as np
import pytest

from charlstm.novelty import ngram_index, passages, search
from charlstm.novelty.hashes import ngram_hashes
from charlstm.novelty.search import SHORTEST, SIZES
from charlstm.novelty.training_text import TrainingText, joined


def training_of(ids, symbols):
    ids = np.asarray(ids, np.uint8)
    return TrainingText(ids, symbols, 0, ids, 0)


def random_pair(seed, symbols=None, length=900):
    """A training text and texts that have random parts of it, with a few characters changed, and unknown ones."""
    rng = np.random.default_rng(seed)
    symbols = symbols or int(rng.integers(1, 8))
    ids = rng.integers(0, symbols, length)
    texts = []
    for _ in range(int(rng.integers(1, 5))):
        parts = [rng.integers(-1, symbols, int(rng.integers(0, 30)))]
        for _ in range(int(rng.integers(0, 4))):
            begin, size = int(rng.integers(0, length)), int(rng.integers(1, 90))
            parts += [ids[begin : begin + size], rng.integers(-1, symbols, int(rng.integers(0, 12)))]
        texts.append(np.concatenate(parts))
    return ids, symbols, texts


def ngrams_of(ids, n):
    return {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}


def longest_common(text, known):
    """By brute force: the length of the longest common passage that starts at each position."""
    lengths = []
    for start in range(len(text)):
        size = 0
        while start + size < len(text) and tuple(text[start : start + size + 1]) in known(size + 1):
            size += 1
        lengths.append(size)
    return lengths


@pytest.fixture(params=[64, 1 << 15], ids=["small blocks", "one block"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(search, "BLOCK", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", range(25))
def test_ngrams_occur_as_by_brute_force(seed):
    ids, symbols, texts = random_pair(seed)
    text, starts = joined(texts, symbols)
    result = search.search(training_of(ids, symbols), text)
    for n in SIZES:
        known = ngrams_of(ids.tolist(), n)
        for part, start in zip(texts, starts, strict=True):
            expected = [tuple(part[i : i + n].tolist()) in known for i in range(len(part) - n + 1)]
            assert result.occurring[n][start : start + len(expected)].tolist() == expected
        across = set(range(len(result.occurring[n]))) - {
            s + i for s, part in zip(starts, texts, strict=True) for i in range(len(part) - n + 1)
        }
        assert not result.occurring[n][sorted(across)].any()


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", range(25))
def test_passages_are_those_of_brute_force(seed):
    ids, symbols, texts = random_pair(seed, symbols=3)
    text, _ = joined(texts, symbols)
    result = search.search(training_of(ids, symbols), text)
    known: dict[int, set[tuple[int, ...]]] = {}

    def known_of(n):
        if n not in known:
            known[n] = ngrams_of(ids.tolist(), n)
        return known[n]

    lengths = longest_common(text.tolist(), known_of)
    starts = {}
    for start, size, source in result.matches.tolist():
        assert text[start : start + size].tolist() == ids[source : source + size].tolist()
        starts[start] = max(starts.get(start, 0), size)
    maximal = {
        start: size
        for start, size in enumerate(lengths)
        if size >= SHORTEST and (start == 0 or lengths[start - 1] <= size)
    }
    assert maximal.items() <= starts.items()
    shown = passages.disjoint(result.matches, len(text), SHORTEST)
    assert max((p.length for p in shown), default=0) == max([n for n in lengths if n >= SHORTEST], default=0)
    covered = np.zeros(len(text), int)
    for p in shown:
        assert p.length >= SHORTEST
        assert text[p.start : p.start + p.length].tolist() == ids[p.source : p.source + p.length].tolist()
        covered[p.start : p.start + p.length] += 1
    assert covered.max(initial=0) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_equal_hashes_alone_are_not_a_copy(seed, monkeypatch):
    """With hashes of 3 bits nearly all n-grams collide; nothing is said to be copied that is not."""
    monkeypatch.setattr(
        search, "ngram_hashes", lambda *a: {n: h >> np.uint64(61) << np.uint64(61) for n, h in ngram_hashes(*a).items()}
    )
    monkeypatch.setattr(search, "joined_hashes", lambda left, right, _: left & right)
    ids, symbols, texts = random_pair(seed, symbols=5)
    text, _ = joined(texts, symbols)
    result = search.search(training_of(ids, symbols), text)
    for n in SIZES:
        known = ngrams_of(ids.tolist(), n)
        for i in np.flatnonzero(result.occurring[n]).tolist():
            assert tuple(text[i : i + n].tolist()) in known
    for start, size, source in result.matches.tolist():
        assert text[start : start + size].tolist() == ids[source : source + size].tolist()


def test_text_of_one_character_takes_no_quadratic_time():
    ids = np.zeros(20_000, np.uint8)
    text, _ = joined([np.zeros(500, np.int64)], 1)
    result = search.search(training_of(ids, 1), text)
    (first, *_) = passages.disjoint(result.matches, len(text), SHORTEST)
    assert (first.start, first.length) == (0, 500)
    assert all(result.occurring[n].sum() == 500 - n + 1 for n in SIZES)


@pytest.mark.parametrize("length", [0, 1, 4, 5, 19, 20, 21, 39, 40, 41])
def test_short_texts_and_short_training_texts_match(length):
    ids = np.arange(41) % 7
    for text_ids, training_ids in ((ids[:length], ids), (ids, ids[:length])):
        text, _ = joined([text_ids], 7)
        result = search.search(training_of(training_ids, 7), text)
        for n in SIZES:
            known = ngrams_of(training_ids.tolist(), n)
            expected = sum(tuple(text_ids[i : i + n].tolist()) in known for i in range(len(text_ids) - n + 1))
            assert result.occurring[n].sum() == expected


def test_filter_never_misses_a_hash():
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, 1000, np.uint64)
    keep = ngram_index.HashFilter(hashes)
    assert keep(hashes).all()
    assert keep(rng.integers(0, 2**64, 100_000, np.uint64)).mean() < 0.1
    keep.remove(hashes[:500], hashes[500:])
    assert keep(hashes[500:]).all()
    assert not keep(hashes[:500]).all()
