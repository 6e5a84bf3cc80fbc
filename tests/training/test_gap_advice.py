"""The score of the training split beside the held-out one, and the sentence where they part."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.evaluation import score
from charlstm.text.corpus import load_corpus
from charlstm.text.documents import Documents
from charlstm.training.advice import gap_advice
from charlstm.training.events import Evaluated

DIFFERENT = "its end is not like the rest; try --set corpus.validation=blocks"
BY_HEART = "the network learns by heart: 1.0 bits for training text, 2.5 for held-out text"


def records(*scores: tuple[float, float, float]) -> list[dict[str, object]]:
    """Evaluations with these epochs, and bits of the training split and the validation split."""
    return [
        {"kind": "evaluation", "epoch": epoch, "training_split_nats": a * math.log(2), "nats": b * math.log(2)}
        for epoch, a, b in scores
    ]


@pytest.mark.parametrize(
    ("scores", "corpus", "message"),
    [
        ([(0.5, 3.0, 3.1), (2, 2.0, 2.2)], {}, ""),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.3)], {}, "held-out text is 1.3 bits harder than the training text: " + DIFFERENT),
        ([(0.5, 3.0, 2.0), (2, 2.0, 1.5)], {}, "held-out text is 0.5 bits easier than the training text: " + DIFFERENT),
        ([(0.5, 3.0, 3.1), (2, 2.0, 2.4), (9, 1.0, 2.5)], {}, BY_HEART),
        ([(3.0, 2.0, 3.0)], {}, DIFFERENT),
        ([(0.5, 3.0, 3.8), (2, 1.0, 2.5)], {"validation": "blocks"}, BY_HEART),
        ([(0.5, 3.0, 3.8), (2, 1.0, 2.5)], {"documents": "newline"}, BY_HEART),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.3)], {"documents": "newline", "shuffle_documents": False}, DIFFERENT),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.3)], {"validation": "files"}, "held-out files are 1.3 bits harder"),
        ([(0.5, 3.0, 2.0)], {"validation": "blocks"}, ""),
        ([], {}, ""),
    ],
)
def test_advice_says_why_training_and_held_out_text_part(scores, corpus, message):
    advice = gap_advice(records(*scores), CorpusConfig(source="a.txt", **corpus), ModelConfig())
    assert message in advice
    assert bool(message) == bool(advice)


def test_runs_without_a_score_of_the_training_split_get_no_advice():
    assert (
        gap_advice([{"kind": "evaluation", "nats": 1.0, "epoch": 1.0}], CorpusConfig(source="a.txt"), ModelConfig())
        == ""
    )


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        ({}, "try more text, --set model.dropout=0.3 or a smaller model.hidden_size"),
        ({"dropout": 0.3}, "try more text, --set model.dropout=0.5 or a smaller model.hidden_size"),
        ({"dropout": 0.5}, "try more text, or a smaller model.hidden_size"),
        ({"output_dropout": 0.0}, "try more text, --set model.output_dropout=0.3 or a smaller model.hidden_size"),
        ({"output_dropout": 0.4}, "try more text, --set model.output_dropout=0.5 or a smaller model.hidden_size"),
    ],
)
def test_advised_dropout_is_higher_than_that_of_the_run(model, advice):
    scores = records((0.5, 3.0, 3.1), (9, 1.0, 2.5))
    assert gap_advice(scores, CorpusConfig(source="a.txt"), ModelConfig(**model)).endswith(advice)


@pytest.mark.parametrize(
    "corpus", [{}, {"validation": "blocks", "validation_fraction": 0.3}, {"documents": "newline"}], ids=str
)
def test_training_split_is_scored_without_side_effects(make_config, make_trainer, corpus, tmp_path):
    """On a spread sample as long as the validation split; the metrics and weights are those without it."""
    config = make_config({"dropout": 0.2}, corpus)
    trainer = make_trainer(config, tmp_path / "run", load_corpus(**config.corpus.model_dump()))
    events = [event for event in trainer.run() if isinstance(event, Evaluated)]
    sample, held_out = trainer.corpus.training_sample(), trainer.corpus.split("validation")
    size = held_out.characters if isinstance(held_out, Documents) else len(held_out)
    length = sample.characters if isinstance(sample, Documents) else len(sample)
    assert 0.8 * size < length <= size
    last = events[-1]
    assert last.training_split_characters == length
    assert last.training_split_nats == score(trainer.model, sample).nats
    record = [r for r in trainer.directory.metrics() if r["kind"] == "evaluation"][-1]
    assert record["training_split_nats"] == last.training_split_nats
    assert record["training_split_bits_per_character"] == last.training_split_nats / math.log(2)
    unscored = make_trainer(config, tmp_path / "unscored", trainer.corpus)
    unscored.validator.training_score = unscored.validator.score
    list(unscored.run())
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, unscored.model.state_dict()[name])
    assert torch.equal(trainer.state.tensors()["random.cpu"], unscored.state.tensors()["random.cpu"])


def test_sample_of_a_long_training_split_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.txt"
    path.write_text("0123456789" * 100_000)
    corpus = load_corpus(str(path))
    sample = corpus.training_sample()
    assert isinstance(sample, Documents)
    assert sample.characters == 1 << 15
    assert sample.scored is not None
    assert np.mean(sample.scored) == pytest.approx(450_000, rel=0.01)
    assert sample.ends.max() <= 900_000
