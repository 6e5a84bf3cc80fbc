"""Scores of samples: the mean, its standard error, and that samples represent the text."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.evaluation import nats_per_character
from charlstm.evaluation.sampled import score_of_sample
from charlstm.evaluation.score import block_error
from charlstm.model import LanguageModel
from charlstm.text.corpus import STRETCH, load_corpus
from charlstm.text.documents import Documents
from charlstm.text.splits import MAX_GAP

NONE = np.empty(0, np.int64)


def stretches(lengths, total=1000):
    ends = np.cumsum(lengths)
    return Documents(np.zeros(total, np.int64), ends - lengths, ends, NONE)


def test_standard_error_is_that_of_a_ratio_estimate():
    lengths, total = [2, 3, 5], 40
    nats = np.random.default_rng(1).random(10).astype(np.float32)
    score = score_of_sample(nats, stretches(np.array(lengths)), total, 5, "forward")
    sums = [float(part.astype(np.float64).sum()) for part in np.split(nats, [2, 5])]
    mean = sum(sums) / 10
    squares = sum((y - mean * n) ** 2 for y, n in zip(sums, lengths, strict=True))
    assert (score.nats, score.characters, score.sampled_from) == (pytest.approx(mean), 10, 40)
    assert score.standard_error == pytest.approx(math.sqrt((1 - 10 / 40) * 3 / 2 * squares) / 10)
    is_pseudo = [
        score_of_sample(nats, stretches(np.array(lengths)), total, 5, direction).is_pseudo_likelihood
        for direction in ("forward", "backward", "bidirectional")
    ]
    assert is_pseudo == [False, False, True]


def test_standard_error_needs_two_stretches_and_vanishes_for_the_whole_text():
    nats = np.arange(8, dtype=np.float32)
    assert score_of_sample(nats, stretches(np.array([8])), 40, 5, "forward").standard_error is None
    assert score_of_sample(nats, stretches(np.array([4, 4])), 8, 5, "forward").standard_error == 0


def test_sample_has_the_block_error_of_its_characters():
    nats = np.random.default_rng(1).random(200).astype(np.float32)
    assert score_of_sample(nats, stretches(np.array([100, 100])), 400, 5, "forward").block_error == block_error(nats)


def test_standard_error_predicts_the_deviation_from_the_text():
    """Of a text whose places differ: the deviations of 200 random samples, in standard errors, have variance 1."""
    rng = np.random.default_rng(2)
    text = (np.repeat(rng.random(400), 50) + rng.random(20_000)).astype(np.float32)
    deviations = []
    for _ in range(200):
        starts = 50 * rng.choice(400, 60, replace=False)
        sample = Documents(np.zeros(20_000, np.int64), starts, starts + 50, NONE)
        score = score_of_sample(text[(starts[:, None] + np.arange(50)).ravel()], sample, 20_000, 5, "forward")
        deviations.append((score.nats - text.mean()) / score.standard_error)
    assert np.mean(np.square(deviations)) == pytest.approx(1, abs=0.25)


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.choice(list("abc \n"), 40_000)))
    return lambda **options: load_corpus(str(path), validation_fraction=0.5, **options)


@pytest.mark.parametrize("validation", ["tail", "blocks"])
def test_sample_of_a_running_text_is_spread_with_context(corpus, validation):
    text = corpus(validation=validation)
    sample, split = text.held_out_sample(5000), text.split("validation")
    again = text.held_out_sample(5000)
    assert np.array_equal(sample.scored, again.scored)
    assert np.array_equal(sample.scored_ends, again.scored_ends)
    assert sample.characters == 5000
    assert (sample.scored_ends - sample.scored).max() <= STRETCH + 20
    assert np.median(sample.scored - sample.starts) == (MAX_GAP if validation == "tail" else pytest.approx(64, abs=64))
    if validation == "tail":
        part = text.splits["validation"]
        assert sample.starts.min() >= part.start
        assert sample.ends.max() <= part.stop
        assert np.diff(sample.scored).std() <= 1
    else:
        inside = [
            (split.scored <= a) & (b <= split.scored_ends)
            for a, b in zip(sample.scored, sample.scored_ends, strict=True)
        ]
        assert all(one.sum() == 1 for one in inside)


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_scores_of_stretches_are_close_to_those_within_the_text(corpus, direction):
    text = corpus()
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(hidden_size=6, direction=direction), text.vocabulary.size)
    sample, part = text.held_out_sample(4000), text.splits["validation"]
    nats = nats_per_character(model, sample)
    whole = nats_per_character(model, text.split("validation"))
    places = [slice(a - part.start, b - part.start) for a, b in zip(sample.scored, sample.scored_ends, strict=True)]
    pieces = [whole[place][:: -1 if direction == "backward" else 1] for place in places]
    assert np.concatenate(pieces) == pytest.approx(nats, abs=1e-4)


def test_sample_of_documents_has_whole_ones(corpus):
    text = corpus(documents="newline")
    sample = text.held_out_sample(2000)
    assert 1500 < sample.characters <= 2000
    split = text.split("validation")
    assert set(sample.starts.tolist()) < set(split.starts.tolist())
    score = score_of_sample(np.ones(sample.characters, np.float32), sample, split.characters, 6, "forward")
    assert (score.nats, score.standard_error) == (1, 0)
