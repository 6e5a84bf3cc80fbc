"""The score of the training split beside the held-out one, and the sentence where they part."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlstm.config import Config
from charlstm.evaluation import score
from charlstm.evaluation.score import mean_score
from charlstm.text.corpus import load_corpus
from charlstm.text.documents import Documents
from charlstm.training.events import Evaluated
from charlstm.training.gap_advice import gap_advice

LN_2 = math.log(2)
DIFFERENT = (
    "than the training text from the beginning: its end is not like the rest; try --set corpus.validation=blocks"
)
BY_HEART = "the network learns by heart: 1.0 bits for training text, 2.5 for held-out text"


def records(*scores: tuple[float, float, float], **fields: object) -> list[dict[str, object]]:
    """Evaluations with these epochs, and bits of the training split and the validation split."""
    return [
        {"kind": "evaluation", "epoch": epoch, "training_split_nats": a * LN_2, "nats": b * LN_2, **fields}
        for epoch, a, b in scores
    ]


def advice_on(scores: list[dict[str, object]], **sections: dict[str, object]) -> str:
    corpus = {"source": "a.txt", **sections.pop("corpus", {})}
    return "; ".join(gap_advice(scores, Config.model_validate({"corpus": corpus, **sections})))


@pytest.mark.parametrize(
    ("scores", "corpus", "message"),
    [
        ([(0.5, 3.0, 3.1), (2, 2.0, 2.2)], {}, ""),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.0)], {}, "held-out text is 0.8 bits harder " + DIFFERENT),
        ([(0.5, 3.0, 2.0), (2, 2.0, 1.5)], {}, "held-out text is 1.0 bits easier " + DIFFERENT),
        ([(0.5, 3.0, 2.0), (9, 1.0, 2.5)], {}, BY_HEART),
        ([(0.5, 3.0, 3.8), (9, 2.5, 2.6)], {}, ""),
        ([(0.5, 3.0, 3.1), (2, 2.0, 2.4), (9, 1.0, 2.5)], {}, BY_HEART),
        ([(1.5, 2.0, 3.0)], {}, "held-out text is 1.0 bits harder " + DIFFERENT),
        ([(2.5, 1.0, 2.5)], {}, BY_HEART),
        ([(0.5, 3.0, 3.8), (2, 1.0, 2.5)], {"validation": "blocks"}, BY_HEART),
        ([(0.5, 3.0, 3.8), (2, 1.0, 2.5)], {"documents": "newline"}, BY_HEART),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.0)], {"documents": "newline", "shuffle_documents": False}, DIFFERENT),
        ([(0.5, 3.0, 3.8), (2, 2.0, 3.0)], {"validation": "files"}, "held-out files are 0.8 bits harder"),
        ([(0.5, 3.0, 2.0)], {"validation": "blocks"}, ""),
        ([], {}, ""),
    ],
)
def test_advice_says_why_training_and_held_out_text_part(scores, corpus, message):
    advice = advice_on(records(*scores), corpus=corpus)
    assert message in advice
    assert bool(message) == bool(advice)


@pytest.mark.parametrize("last", [(9, 1.0, 2.5), (9, 2.0, 3.0)])
def test_difference_of_the_texts_is_named_however_much_is_learned_by_heart(last):
    """Regularization changes the last scores, not the first."""
    advice = advice_on(records((0.5, 3.0, 3.8), last))
    assert f"held-out text is 0.8 bits harder {DIFFERENT}" in advice
    assert ("learns by heart" in advice) == (last[1] == 1.0)


def test_fine_tuned_network_may_know_its_text_by_heart_from_the_beginning():
    assert advice_on(records((0.5, 1.0, 2.5)), training={"initial_run": "runs/a"}).startswith(BY_HEART)


@pytest.mark.parametrize(("error", "is_clear"), [(0.3, True), (0.45, False)])
def test_gap_within_two_standard_errors_gets_no_advice(error, is_clear):
    fields = {"gap_nats_standard_error": error * LN_2}
    for scores in ([(0.5, 3.0, 3.8), (2, 2.0, 2.8)], [(3.0, 2.0, 2.8)]):
        assert bool(advice_on(records(*scores, **fields))) == is_clear


def test_gap_after_a_divergence_gets_no_advice():
    scores = records((0.5, 3.0, 3.1), (9, 1.0, 2.5))
    assert advice_on([*scores, {"kind": "end", "stop_reason": "diverged"}]) == ""
    assert advice_on([*scores, {"kind": "end", "stop_reason": "budget"}]).startswith(BY_HEART)


@pytest.mark.parametrize(("characters", "is_short"), [(500, True), (501, False)])
def test_short_held_out_text_gets_a_warning_in_place_of_advice(characters, is_short):
    advice = advice_on(records((0.5, 3.0, 3.8), (9, 1.0, 2.5), characters_scored=characters))
    assert advice.startswith("only 500 characters are held out, whose score is largely chance") == is_short
    assert (DIFFERENT in advice) == (BY_HEART in advice) == (not is_short)


def test_runs_without_a_score_of_the_training_split_get_no_advice():
    assert advice_on([{"kind": "evaluation", "nats": 1.0, "epoch": 1.0}]) == ""


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
    assert advice_on(records((0.5, 3.0, 3.1), (9, 1.0, 2.5)), model=model).endswith(advice)


def test_block_error_is_that_of_the_mean_of_independent_blocks():
    """Of 400 characters in 8 blocks of 50, half of which are 1 and half 3: s = 2 sqrt(2 / 7)."""
    nats = np.repeat(np.array([1, 3] * 4, np.float32), 50)
    assert mean_score(nats, False).block_error == pytest.approx(2 * math.sqrt(2 / 7) / math.sqrt(8))
    assert mean_score(nats[:99], False).block_error is None
    noise = np.random.default_rng(1).normal(2, 1, (200, 10_000)).astype(np.float32)
    errors = [mean_score(row, False).block_error for row in noise]
    assert np.mean(errors) == pytest.approx(0.01, rel=0.05)


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
