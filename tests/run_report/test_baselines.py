"""The predictors that a run is compared with."""

from __future__ import annotations

import json
import lzma
import math

import numpy as np
import pytest

from charlstm.config import parse_config
from charlstm.probes.ngram import NGram
from charlstm.run_report import baselines as module
from charlstm.run_report.baselines import baselines, joined
from charlstm.text.corpus import load_corpus


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baselines"


def of(path, **corpus):
    config = parse_config({"corpus": {"source": str(path), **corpus}}, "test")
    return config, load_corpus(**config.corpus.model_dump())


def test_scores_of_a_running_text(corpus_file, corpus):
    config, _ = of(corpus_file)
    scores = {one.name: one.bits for one in baselines(config, corpus)}
    train, held_out = corpus.split("train"), corpus.split("validation")
    V = corpus.vocabulary.size
    assert list(scores) == [f"{V} characters, all equally likely", *(f"{n}-gram model" for n in range(1, 8)), "xz"]
    assert scores[f"{V} characters, all equally likely"] == pytest.approx(math.log2(V))
    assert scores["3-gram model"] == pytest.approx(NGram(train, V, 3).predict(held_out).nats.mean() / math.log(2))
    whole, beginning = (
        len(lzma.compress(corpus.vocabulary.decode(ids).encode())) for ids in (np.r_[train, held_out], train)
    )
    assert scores["xz"] == pytest.approx(8 * (whole - beginning) / len(held_out))


def test_blocks_are_scored_without_the_gaps_around_them(corpus_file):
    corpus = load_corpus(str(corpus_file), validation="blocks")
    held_out = corpus.split("validation")
    assert len(joined(held_out)) == held_out.characters < (held_out.ends - held_out.starts).sum()


def test_scores_are_cached_by_text_and_split(corpus_file, corpus, cache, monkeypatch):
    config, _ = of(corpus_file)
    first = baselines(config, corpus)
    (file,) = cache.iterdir()
    monkeypatch.setattr(module, "ngram_bits", lambda *_: {1: 9.0})
    assert baselines(config, corpus) == first
    assert baselines(*of(corpus_file, validation_fraction=0.3)) != first
    file.write_text("[[1")
    assert baselines(config, corpus)[1].bits == 9.0
    json.loads(file.read_text())


@pytest.mark.parametrize("options", [{"documents": "newline"}, {"encoding": "bytes"}, {"documents": ", "}])
def test_documents_and_bytes(tmp_path, options):
    path = tmp_path / "t.txt"
    path.write_text("anna, bob\nbob, anna\n" * 200)
    config, corpus = of(path, **options)
    scores = {one.name: one.bits for one in baselines(config, corpus)}
    assert all(0 <= score < 8 for score in scores.values())
    assert scores["7-gram model"] < scores["1-gram model"]
