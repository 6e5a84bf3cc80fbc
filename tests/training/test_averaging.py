"""Averages of the weights: the formulas, the trigger, and that the average is what is scored, sampled and saved."""

from __future__ import annotations

import random

import pytest
import torch
from test_checkpoint_manager import assert_same
from test_checkpoint_manager_laws import stop_at
from torch import nn

import charlstm
from charlstm.checkpoints.format import load_checkpoint, strip_prefix
from charlstm.config import TrainingConfig
from charlstm.evaluation import score
from charlstm.generation import preview
from charlstm.runs.directory import RunDirectory
from charlstm.text.lead_ins import encode_lead_ins, lead_ins
from charlstm.training.averaging import WeightAverage
from charlstm.training.events import Evaluated, Notice
from charlstm.training.trainer import Trainer

SGD = {"optimizer": "sgd", "learning_rate": 12.0, "momentum": 0.0, "schedule": "constant"}


def model_and_average(**settings):
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    return model, WeightAverage(TrainingConfig(**settings), model)


def train(model, average, steps):
    """The weights after each step, in float64."""
    weights = []
    for step in steps:
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        average.update(step)
        weights.append(model.weight.detach().double())
    return weights


def test_exponential_average_is_corrected_for_its_bias():
    """Kingma & Ba 2015, section 7.2: the running average that starts at zero, divided by 1 - d^t."""
    model, average = model_and_average(averaging_decay=0.8)
    biased = torch.zeros(2, 3, dtype=torch.float64)
    for w in train(model, average, range(1, 12)):
        biased = 0.8 * biased + 0.2 * w
    torch.testing.assert_close(average.model.weight.double(), biased / (1 - 0.8**11), rtol=1e-5, atol=1e-6)
    assert torch.equal(average.model.bias, model.bias)


@pytest.mark.parametrize("decay", [None, 0.5])
def test_triggered_average_counts_the_steps_after_its_start(decay):
    model, average = model_and_average(averaging_patience=1, averaging_decay=decay)
    train(model, average, range(1, 4))
    assert torch.equal(average.model.weight, model.weight)
    assert [average.add_score(3, nats) for nats in (2.0, 3.0)] == [False, False]
    assert not average.has_started
    assert average.add_score(3, 2.5)
    weights = torch.stack(train(model, average, range(4, 10)))
    factors = torch.ones(6) if decay is None else 0.5 ** torch.arange(5.0, -1, -1)
    expected = torch.einsum("t,tij->ij", (factors / factors.sum()).double(), weights)
    torch.testing.assert_close(average.model.weight.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_average_starts_as_in_nt_asgd(patience):
    """Merity et al. 2018, algorithm 1: t > n and v > min over l of logs[l], l from 0 to t - n - 1."""
    starts = set()
    for seed in range(20):
        rng = random.Random(seed)
        scores = [round(3 - min(k, 12) / 10 + rng.uniform(0, 0.5), 1) for k in range(30)]  # some are equal
        t = next((t for t in range(30) if t > patience and scores[t] > min(scores[: t - patience])), None)
        (_, average), (_, resumed) = (model_and_average(averaging_patience=patience) for _ in range(2))
        started = []
        for k, nats in enumerate(scores):
            resumed.load_state_dict(average.state_dict())
            average, resumed = resumed, average
            started += [k] * average.add_score(k, nats)
        assert started == ([] if t is None else [t])
        starts.add(t)
    assert len(starts) > 4


@pytest.fixture(scope="module")
def averaged(make_config, corpus, tmp_path_factory):
    """The trainer of a finished run with triggered averaging, and its events."""
    # From the unigram bias, or with seed 1, the average is not better than the last weights after 40 steps.
    config = make_config(
        {"unigram_bias": False}, **SGD, seed=2, averaging_patience=1, budget={"steps": 40}, evaluate_every=4
    )
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    directory.create(config)
    trainer = Trainer(config, corpus, directory)
    return trainer, list(trainer.run())


def test_average_is_scored_sampled_and_recorded(averaged, corpus):
    trainer, events = averaged
    model, average = trainer.model, trainer.state.evaluated_model
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    raw = [event.raw_nats for event in evaluations]
    started = raw.index(next(nats for nats in raw if nats is not None))
    assert 2 < started < len(raw) - 1
    assert None not in raw[started:]
    (notice,) = (event.text for event in events if isinstance(event, Notice))
    assert notice.startswith(f"step {evaluations[started - 1].step}: ")
    last, text = evaluations[-1], corpus.split("validation")
    assert (last.nats, last.raw_nats) == (score(average, text).nats, score(model, text).nats)
    assert last.nats < last.raw_nats
    passages = encode_lead_ins(lead_ins(corpus, "forward"), corpus.vocabulary)
    assert last.sample == preview(average, corpus.vocabulary, 12, 2 + last.step, "", text, lead_ins=passages)
    records = [record for record in trainer.directory.metrics() if record["kind"] == "evaluation"]
    assert [record.get("raw_nats") for record in records] == raw
    assert records[-1]["raw_bits_per_character"] == last.raw_bits


def test_average_is_saved_and_loaded_in_both_checkpoints(averaged):
    trainer, events = averaged
    directory, best = trainer.directory, min(event.nats for event in events if isinstance(event, Evaluated))
    for name in ("best", "last"):
        tensors, header = load_checkpoint(directory.checkpoints.folder / f"{name}.safetensors")
        model, weights = charlstm.load(directory.path, name, "cpu").model, strip_prefix("model", tensors)
        assert all(torch.equal(t, weights[key]) for key, t in model.state_dict().items())
        assert score(model, trainer.corpus.split("validation")).nats == (
            best if name == "best" else [event for event in events if isinstance(event, Evaluated)][-1].nats
        )
        assert header["counters"]["best_nats"] == best
    raw = strip_prefix("raw", tensors)
    assert raw.keys() == dict(trainer.model.named_parameters()).keys()
    assert all(torch.equal(raw[key], p) for key, p in trainer.model.named_parameters())
    assert not all(torch.equal(raw[key], weights[key]) for key in raw)


CASES = {
    "exponential": (
        {"front_end": "embedding", "embedding_size": 3, "dropout": 0.2},
        {
            "averaging_decay": 0.8,
            "gradient_accumulation": 2,
            "label_smoothing": 0.1,
            "learning_rate_factors": {"front_end": 0.5, "head": 2.0},
        },
    ),
    "triggered": ({}, {**SGD, "averaging_patience": 1, "sequence_length_std": 4}),
}
STOPS = [("step", 1), ("step", 9), ("scoring", 12), ("step", 18), ("scoring", 24), ("sampling", 24), ("step", 25)]


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_uninterrupted_run(make_trainer, make_config, tmp_path, case):
    model, training = CASES[case]
    config = make_config(model, **training, budget={"steps": 30})
    list(make_trainer(config, tmp_path / "uninterrupted").run())
    for stop in (*STOPS, None):
        trainer = make_trainer(config, tmp_path / "stopped")
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        if stop:
            stop_at(trainer, *stop)
        *_, ended = trainer.run()
        assert stop is None or (ended.stop_reason, ended.step) == ("stopped", stop[1])
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")
    raw = [record.get("raw_nats") for record in trainer.directory.metrics() if record["kind"] == "evaluation"]
    assert (raw[0] is None, raw[-1] is None) == (case == "triggered", False)
