from __future__ import annotations

import random

import numpy as np
import pytest

from charlstm.errors import UserError
from charlstm.novelty import training_text as module
from charlstm.novelty.novelty import HELD_OUT, measure
from charlstm.novelty.training_text import DocumentIds, training_text
from charlstm.text.corpus import load_corpus
from charlstm.text.documents import Documents


def make_corpus(tmp_path, text, **options):
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8", newline="")
    return load_corpus(str(tmp_path / "corpus.txt"), **options)


def random_text(seed, length, alphabet="abcdefgh \n"):
    rng = random.Random(seed)
    return "".join(rng.choice(alphabet) for _ in range(length))


def encode(corpus, text):
    return corpus.vocabulary.ids_of_codes(np.array([ord(c) for c in text], np.uint32))


def test_copied_passage_is_located(tmp_path):
    text = random_text(1, 5000)
    corpus = make_corpus(tmp_path, text)
    copied = text[1234:1300]
    report = measure(corpus, [encode(corpus, "Z?" + copied + "Z" + random_text(2, 100))])
    (passage,) = report.together.copied
    assert (passage.start, passage.length, passage.source) == (2, 66, 1234)
    assert passage.line == text[:1234].count("\n") + 1
    assert report.texts == (report.together,)
    assert report.together.characters == 169


def test_fractions_of_new_ngrams_are_exact(tmp_path):
    text = random_text(1, 3000, "ab")
    corpus = make_corpus(tmp_path, text)
    train, written = text[:2700], random_text(3, 400, "ab")
    report = measure(corpus, [encode(corpus, written[:150]), encode(corpus, written[150:])])
    for n in (5, 10, 20, 40):
        grams = [part[i : i + n] for part in (written[:150], written[150:]) for i in range(len(part) - n + 1)]
        assert report.together.new[n] == pytest.approx(sum(g not in train for g in grams) / len(grams))
        held_out = [text[i : i + n] for i in range(2700, 3000 - n + 1)]
        assert report.held_out.new[n] == pytest.approx(sum(g not in train for g in held_out) / len(held_out))


def test_held_out_text_is_not_searched(tmp_path):
    text = random_text(1, 5000)
    corpus = make_corpus(tmp_path, text)
    assert measure(corpus, [encode(corpus, text[4600:4700])]).together.copied == ()
    assert measure(corpus, [encode(corpus, text[4400:4500])]).together.copied != ()


def test_short_text_has_no_long_ngrams(tmp_path):
    corpus = make_corpus(tmp_path, random_text(1, 500))
    report = measure(corpus, [encode(corpus, "abcabc"), encode(corpus, "")])
    assert report.together.new[10] is None
    assert report.texts[1].new[5] is None
    assert report.texts[1].characters == 0


def test_nothing_to_compare_is_an_error(tmp_path):
    corpus = make_corpus(tmp_path, random_text(1, 500))
    with pytest.raises(UserError, match="it is empty"):
        measure(corpus, [encode(corpus, "")])


def test_run_without_held_out_text_has_no_comparison(tmp_path):
    corpus = make_corpus(tmp_path, random_text(1, 500), validation_fraction=0.0)
    assert measure(corpus, [encode(corpus, "abcabc")]).held_out is None


def test_held_out_text_is_limited(tmp_path):
    corpus = make_corpus(tmp_path, random_text(1, 3 * HELD_OUT), validation_fraction=0.5)
    assert measure(corpus, [encode(corpus, "abcabc")]).held_out.characters == HELD_OUT


@pytest.mark.parametrize("block", [7, 1 << 24])
def test_only_training_documents_are_searched(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    lines = [random_text(seed, 30, "abcdefgh") for seed in range(50)]
    corpus = make_corpus(tmp_path, "\n".join(lines), documents="newline")
    train = training_text(corpus)
    documents = corpus.split("train")
    trained = {corpus.vocabulary.decode(corpus.ids[a:b]) for a, b in zip(documents.starts, documents.ends, strict=True)}
    assert 40 <= len(trained) < 50
    expected = [c if line in trained else "?" for line in lines for c in line + "?"][:-1]
    decoded = [corpus.vocabulary.symbols[i] if i < train.vocabulary_size else "?" for i in train.ids[:].tolist()]
    assert decoded == expected
    report = measure(corpus, [encode(corpus, line) for line in lines])
    for line, result in zip(lines, report.texts, strict=True):
        assert bool(result.copied) == (line in trained)
        for passage in result.copied:
            assert lines[passage.line - 1] == line
    both = "".join([*trained][:2])
    assert max(p.length for p in measure(corpus, [encode(corpus, both)]).together.copied) == 30


def test_documents_are_read_like_a_copy_of_the_text_without_the_others():
    rng = np.random.default_rng(1)
    edges = np.sort(rng.choice(201, 41, replace=False))
    chosen = rng.permutation(40)[:25]  # some are adjacent
    ids = rng.integers(0, 256, 200, np.uint8)
    documents = Documents(ids, edges[:-1][chosen], edges[1:][chosen], np.empty(0, np.int64))
    copy = np.full(200, 256)
    for begin, end in zip(documents.starts, documents.ends, strict=True):
        copy[begin:end] = ids[begin:end]
    text = DocumentIds(documents, 256)
    assert len(text) == 200
    for begin in range(200):
        for end in (begin, begin + 1, begin + 7, begin + 90, 500):
            assert np.array_equal(text[begin:end], copy[begin:end])
    positions = rng.integers(0, 200, (30, 20))
    assert np.array_equal(text[positions], copy[positions])


def test_large_vocabulary_is_searched(tmp_path):
    text = "".join(chr(0x4E00 + random.Random(seed).randrange(400)) for seed in range(2000))
    corpus = make_corpus(tmp_path, text)
    (passage,) = measure(corpus, [encode(corpus, "日" + text[100:140])]).together.copied
    assert (passage.start, passage.length, passage.source) == (1, 40, 100)
