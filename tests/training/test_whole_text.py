"""Training without held-out text: corpus.validation_fraction: 0."""

from __future__ import annotations

import pytest
from test_checkpoint_manager import assert_same

from charlstm.evaluation import score
from charlstm.text.corpus import load_corpus
from charlstm.text.documents import Documents
from charlstm.training import evaluations
from charlstm.training.events import Ended, Evaluated, Progress

CASES = {
    "running text": ({"dropout": 0.3}, {}),
    "test split": ({"direction": "bidirectional"}, {"test_fraction": 0.2}),
    "blocks": ({"direction": "backward"}, {"test_fraction": 0.2, "validation": "blocks"}),
    "documents": ({"cell": "gru"}, {"documents": "newline"}),
}


@pytest.fixture
def make(make_config, make_trainer, tmp_path):
    def trainer(case="running text", name="run"):
        model, corpus = CASES[case]
        config = make_config(model, {"validation_fraction": 0.0, **corpus}, budget={"steps": 10}, evaluate_every=4)
        return make_trainer(config, tmp_path / name, load_corpus(**config.corpus.model_dump()))

    return trainer


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_uninterrupted_run(make, tmp_path, case):
    """And it trains on everything but the test split."""
    uninterrupted = make(case, "uninterrupted")
    list(uninterrupted.run())
    for stop in (7, None):
        trainer = make(case, "stopped")
        if stop is None:
            assert trainer.resume() == []
        for event in trainer.run():
            if isinstance(event, Progress) and event.step == stop:
                trainer.request_stop()
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")
    assert not trainer.directory.best.exists()
    corpus = trainer.corpus
    assert corpus.has("test") == ("test_fraction" in CASES[case][1])
    characters = sum(corpus.length(split) for split in ("train", "test") if corpus.has(split))
    blocks = corpus.splits["test"].stop - corpus.splits["test"].start if corpus.gap else 0
    whole = corpus.ids.size if corpus.documents is None else corpus.documents.characters
    assert characters + 2 * corpus.gap * blocks == whole


def test_evaluations_score_training_text_and_say_so(make):
    trainer = make()
    events = [event for event in trainer.run() if isinstance(event, Evaluated | Ended)]
    *evaluated, ended = events
    assert [event.step for event in evaluated] == [4, 8, 10]
    assert (ended.best_nats, ended.best_step) == (None, None)
    sample = trainer.corpus.training_sample()
    assert isinstance(sample, Documents)
    assert sample.characters == trainer.corpus.ids.size
    last = evaluated[-1]
    assert last.evaluated_nats == last.training_split_nats == score(trainer.model, sample).nats
    assert (last.nats, last.bits_per_character, last.best_nats, last.improved) == (None, None, None, False)
    record = [record for record in trainer.directory.metrics() if record["kind"] == "evaluation"][-1]
    held_out = ("split", "nats", "bits_per_character")
    assert [record[name] for name in held_out] == [None] * len(held_out)
    assert record["characters_scored"] == 0
    assert record["training_split_nats"] == last.training_split_nats
    assert record["training_split_characters_scored"] == trainer.corpus.ids.size


def test_divergence_at_an_evaluation_names_what_was_scored(make, monkeypatch):
    trainer = make()
    monkeypatch.setattr(evaluations, "is_finite_loss", lambda _: False)
    ended = list(trainer.run())[-1]
    assert (ended.stop_reason, ended.step) == ("diverged", 4)
    assert "the loss on the training text diverged after step 4" in ended.advice
