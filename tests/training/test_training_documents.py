"""Training on documents: each from a zero state, resumable at any chunk, with samples that are documents."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from test_checkpoint_manager import assert_same

from charlstm.api import load
from charlstm.errors import UserError
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.documents import Documents
from charlstm.text.streams import IGNORE
from charlstm.training.events import Evaluated, Notice

WORDS = ["ann", "bo", "cyd", "the cat sat on a mat", "two dogs", "home", "run home"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> Corpus:
    path = tmp_path_factory.mktemp("texts") / "lines.txt"
    rng = random.Random(3)
    path.write_text("".join(f"{rng.choice(WORDS)} {rng.choice(WORDS)}\n" for _ in range(60)))
    return load_corpus(str(path), documents="newline")


@pytest.fixture
def make(make_config, make_trainer, lines, tmp_path):
    def trainer(name="run", model=None, documents="newline", **training):
        settings = {"batch_size": 5, "sequence_length": 8, "budget": {"steps": 30}, "evaluate_every": 7, **training}
        config = make_config(model, {"source": lines.sources[0], "documents": documents}, **settings)
        return make_trainer(config, tmp_path / name, lines)

    return trainer


@pytest.mark.parametrize(
    ("direction", "stops"),
    [
        *((direction, (1, 13, 25)) for direction in ("forward", "backward", "bidirectional")),
        *(pytest.param(direction, range(1, 30), marks=pytest.mark.slow) for direction in ("forward", "backward")),
        ("bidirectional", range(1, 30)),
    ],
    ids=str,
)
@pytest.mark.few(2)
def test_resumed_run_equals_uninterrupted_run(make, tmp_path, direction, stops):
    model = {"direction": direction, "dropout": 0.3, "cell": "gru"}
    list(make("uninterrupted", model).run())
    for stop in (*stops, None):
        trainer = make("stopped", model)
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
        torch.rand(3)
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_chunk_loss_equals_loss_of_separate_documents(make):
    """Each row as one whole document, read alone, however it was chunked and padded."""
    trainer = make()
    rows: dict[int, tuple[list[int], list[int]]] = {}
    for _ in range(40):
        batch = trainer.streams.next_batch()
        if batch.reset_state:
            rows = {b: ([], []) for b in range(5)}
            trainer.state.carried = tuple(torch.zeros_like(part) for part in trainer.state.carried)
        loss, state = trainer.step.loss(*trainer.step.inputs([batch]), trainer.state.carried)
        trainer.state.carried = tuple(part.detach() for part in state)
        nats = []
        for b, (inputs, targets) in rows.items():
            n = int(batch.lengths[b])
            inputs += batch.previous[:n, b].tolist()
            targets += batch.targets[:n, b].tolist()
            if n:
                logits = trainer.model(torch.tensor(inputs)[:, None])[0][-n:, 0]
                nats.append(F.cross_entropy(logits, torch.tensor(targets[-n:]), reduction="none"))
        assert sum(map(len, nats)) == batch.count == int((batch.targets != IGNORE).sum())
        torch.testing.assert_close(loss, torch.cat(nats).mean(), rtol=1e-4, atol=1e-5)


def test_model_learns_document_ends(make, lines):
    trainer = make(model={"hidden_size": 32}, budget={"steps": 150}, evaluate_every=150, sample_length=60)
    events = list(trainer.run())
    (evaluated,) = [event for event in events if isinstance(event, Evaluated)]
    assert evaluated.nats < 1.5
    documents = evaluated.sample.split("\n")
    assert len(evaluated.sample) <= 60
    assert len(documents) > 1
    held_out = lines.split("validation")
    assert isinstance(held_out, Documents)
    assert evaluated.characters_scored == int((held_out.ends - held_out.starts + 1).sum())
    run = load(trainer.directory.path)
    samples = run.generate(num_samples=10, length=80)
    assert all(sample.ended and "\n" not in sample.text for sample in samples)
    assert all(len(sample.log_probabilities) == len(sample.text) + 1 for sample in samples)
    assert "\n" in run.generate(length=200, until="")[0].text


def test_sample_without_an_end_is_truncated(make):
    trainer = make(sample_length=1)
    assert all(len(e.sample) <= 1 for e in trainer.run() if isinstance(e, Evaluated))


def test_epochs_are_counted_in_characters(make, lines):
    trainer = make(budget={"epochs": 2.0}, evaluate_every=1000)
    (*_, last) = [event for event in trainer.run() if isinstance(event, Evaluated)]
    assert last.epoch == 2
    assert trainer.counters.characters == 2 * trainer.streams.characters


def test_fewer_documents_than_batch_size_give_a_notice(make):
    trainer = make(batch_size=500, budget={"steps": 1})
    assert any(isinstance(event, Notice) and "only" in event.text for event in trainer.run())
    same = make("other", batch_size=trainer.streams.batch_size)
    assert trainer.execution.memory_breakdown() == same.execution.memory_breakdown()


def test_resume_refuses_another_document_separator(make):
    trainer = make(budget={"steps": 1})
    list(trainer.run())
    with pytest.raises(UserError, match=r"corpus\.documents was newline, is blank_line"):
        make(documents="blank_line").resume()


def test_scored_answers_end_training_at_target_nats(make_config, make_trainer, tmp_path):
    rng = random.Random(5)
    pairs = [(rng.choice("ab"), "".join(rng.choices("xyz", k=3))) for _ in range(400)]
    path = tmp_path / "questions.txt"
    path.write_text("".join(f"{key}{noise}={key}\n" for key, noise in pairs))
    corpus = load_corpus(str(path), documents="newline", score_after="=")
    settings = {"batch_size": 20, "sequence_length": 8, "learning_rate": 0.02, "evaluate_every": 20}
    settings |= {"schedule": "constant", "budget": {"steps": 1000, "target_nats": 0.05}, "sample_length": 0}
    config = make_config(None, {"source": str(path), "documents": "newline", "score_after": "="}, **settings)
    trainer = make_trainer(config, tmp_path / "run", corpus)
    *events, ended = trainer.run()
    assert ended.stop_reason == "target_reached"
    assert ended.best_nats <= 0.05
    assert ended.step < 1000
    scored = [event for event in events if isinstance(event, Evaluated)]
    assert scored[-1].characters_scored == len(corpus.split("validation"))
    assert all(event.nats > 0.05 for event in scored[:-1])
    assert trainer.directory.finished
