"""Numbers gone bad: what is refused, what is kept, and what the user is told; and texts that only look like it."""

from __future__ import annotations

import math

import pytest
import torch

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import parse_config
from charlstm.text.corpus import load_corpus
from charlstm.training.advice import divergence_advice
from charlstm.training.events import Ended, Evaluated, Progress


def nan_gradient(trainer):
    """In one weight, where the loss is finite."""

    def hook(gradient):
        spoilt = gradient.clone()
        spoilt[0] = math.nan
        return spoilt

    trainer.model.head.bias.register_hook(hook)


def overflowing_norm(trainer):
    """Every gradient is finite, their norm is not."""
    for parameter in trainer.model.parameters():
        parameter.register_hook(lambda gradient: torch.full_like(gradient, 3e38))


def nan_weight(trainer):
    with torch.no_grad():
        trainer.model.head.weight[0, 0] = math.nan


def infinite_moment(trainer):
    """In the optimiser alone: neither loss nor gradient shows it."""
    state = trainer.state.optimizer.state[trainer.model.head.bias]
    state["exp_avg_sq"][0] = math.inf


SPOILT = {
    # what is spoilt after which step (an evaluation each 4); the message; the step that the run ends with
    "nan gradient": (nan_gradient, 6, "gradient went bad at step 7", 6),
    "overflowing norm": (overflowing_norm, 6, "gradient norm inf", 6),
    "nan weight": (nan_weight, 6, "the loss went bad at step 7 (loss nan", 6),
    "nan at an evaluation": (nan_weight, 8, "the held-out loss went bad after step 8 (nan nats)", 8),
    "infinite moment": (infinite_moment, 6, "a number that is not finite after step 8", 8),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", SPOILT)
def test_what_is_bad_is_neither_applied_nor_saved(make_trainer, make_config, case, precision):
    spoil, at, message, step = SPOILT[case]
    config = make_config(evaluate_every=4, budget={"steps": 12}, precision=precision)
    trainer = make_trainer(config)
    weights = {}
    for event in trainer.run():
        if isinstance(event, Progress) and event.step == at:
            spoil(trainer)
            weights = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    assert isinstance(event, Ended)
    assert (event.why, event.step) == ("diverged", step)
    assert message in event.advice
    assert "learning_rate=" in event.advice
    assert ("float32 in a new run" in event.advice) == (precision == "bfloat16")
    if step == at:
        now = trainer.model.state_dict()
        assert all(torch.equal(t.nan_to_num(7), now[name].nan_to_num(7)) for name, t in weights.items())
    for path in (trainer.directory.last, trainer.directory.best):
        tensors, header = load_checkpoint(path)
        assert header["counters"]["step"] == 4
        assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    again = make_trainer(config, trainer.directory.path)
    again.resume()
    assert list(again.run())[-1].why == "budget"


def test_a_huge_learning_rate(make_trainer, make_config):
    trainer = make_trainer(make_config(learning_rate=1e6, warmup_steps=0))
    ended = list(trainer.run())[-1]
    assert (ended.why, ended.step) == ("diverged", 1)
    assert "learning_rate=3.3e+05" in ended.advice


def test_before_anything_is_learnt_it_is_not_the_learning_rate():
    config = parse_config({"corpus": {"source": "x"}}, "test").training
    first, later = (divergence_advice(config, "float32", step, math.nan, 1.0) for step in (0, 1))
    assert "not the learning rate" in first
    assert "sequence_length (now 64)" in first
    assert "learning_rate=0.00067" in later


@pytest.fixture
def on(make_config, make_trainer, tmp_path):
    def train(text, **training):
        path = tmp_path / "text.txt"
        path.write_text(text)
        config = make_config(corpus={"source": str(path)}, sample_length=0, schedule="constant", **training)
        trainer = make_trainer(config, tmp_path / "run", load_corpus(str(path)))
        return trainer.corpus.vocabulary.size, list(trainer.run())

    return train


def test_a_text_of_two_symbols_that_changes_over_is_no_divergence(on):
    """All of the one, then all of the other: a sound model is surer of the one than 1 / V**3, for a while."""
    size, events = on("a" * 3000 + "b" * 3000, batch_size=1, learning_rate=3e-2, budget={"epochs": 1})
    assert size == 2
    worst = max(e.nats for e in events if isinstance(e, Progress))
    assert worst > 3 * math.log(2) + 1
    assert events[-1].why == "budget"


def test_held_out_symbols_that_were_never_trained_on_are_no_divergence(on):
    size, events = on("ab" * 1000 + "cde" * 75, learning_rate=0.1, budget={"steps": 150}, evaluate_every=50)
    assert size == 5
    assert events[-1].why == "budget"
    assert max(e.nats for e in events if isinstance(e, Evaluated)) > 3 * math.log(5) + 1
