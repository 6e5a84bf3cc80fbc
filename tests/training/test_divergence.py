"""Divergence: the saved checkpoint, the advice, and texts whose high loss is not divergence."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import parse_config
from charlstm.errors import UserError
from charlstm.text.corpus import load_corpus
from charlstm.training import divergence
from charlstm.training.advice import divergence_advice
from charlstm.training.divergence import is_finite_loss, is_high_loss
from charlstm.training.events import Ended, Evaluated, Progress


def nan_gradient(trainer):
    """NaN in the gradient of one weight, with a finite loss."""

    def hook(gradient):
        broken = gradient.clone()
        broken[0] = math.nan
        return broken

    trainer.model.head.bias.register_hook(hook)


def overflowing_norm(trainer):
    """Every gradient is finite, but their norm is not."""
    for parameter in trainer.model.parameters():
        parameter.register_hook(lambda gradient: torch.full_like(gradient, 3e38))


def nan_weight(trainer):
    with torch.no_grad():
        trainer.model.head.weight[0, 0] = math.nan


def infinite_moment(trainer):
    """In the optimizer state only: neither loss nor gradient shows it."""
    state = trainer.state.optimizer.state[trainer.model.head.bias]
    state["exp_avg_sq"][0] = math.inf


FAULTS = {
    # the fault, the step after which it occurs (an evaluation every 4), the message, the last step of the run
    "nan gradient": (nan_gradient, 6, "gradient diverged at step 7", 6),
    "overflowing norm": (overflowing_norm, 6, "gradient norm inf", 6),
    "nan weight": (nan_weight, 6, "the loss diverged at step 7 (loss nan", 6),
    "nan at an evaluation": (nan_weight, 8, "the held-out loss diverged after step 8 (nan nats)", 8),
    "infinite moment": (infinite_moment, 6, "contain NaN or infinity after step 8", 8),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", FAULTS)
def test_diverged_step_is_neither_applied_nor_saved(make_trainer, make_config, case, precision):
    inject, at, message, step = FAULTS[case]
    config = make_config(evaluate_every=4, budget={"steps": 12}, precision=precision)
    trainer = make_trainer(config)
    weights = {}
    for event in trainer.run():
        if isinstance(event, Progress) and event.step == at:
            inject(trainer)
            weights = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    assert isinstance(event, Ended)
    assert (event.stop_reason, event.step) == ("diverged", step)
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
    assert list(again.run())[-1].stop_reason == "budget"


@pytest.mark.parametrize(
    ("nats", "symbols", "expected"),
    [
        (25.0, 2, False),
        (25.001, 2, True),
        (3 * math.log(10**6) + 0.999, 10**6, False),
        (3 * math.log(10**6) + 1.001, 10**6, True),
    ],
)
def test_loss_is_high_above_25_nats_and_3_ln_v_plus_1(nats, symbols, expected):
    assert is_high_loss(nats, symbols) is expected


@pytest.mark.parametrize("nats", [math.inf, -math.inf, math.nan, 1e31])
def test_sums_of_such_losses_are_not_finite(nats):
    assert not is_finite_loss(nats)
    assert is_finite_loss(1e30)


def test_huge_learning_rate_diverges(make_trainer, make_config):
    """Every step after the first has a high loss: the run ends at the hundredth of these, and saves none."""
    trainer = make_trainer(make_config(learning_rate=1e6, warmup_steps=0, budget={"steps": 200}, evaluate_every=150))
    ended = list(trainer.run())[-1]
    assert (ended.stop_reason, ended.step) == ("diverged", 100)
    assert "for 100 steps, up to step 101, it was far above that of a guess" in ended.advice
    assert "learning_rate=3.3e+05" in ended.advice
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 0


@pytest.fixture
def train_with_spike(make_trainer, make_config, monkeypatch, tmp_path):
    """Trains 12 steps, of which some have a high loss, where four in succession are too many."""
    monkeypatch.setattr(divergence, "HIGH_LOSS_STEPS", 4)
    config = make_config(evaluate_every=6, budget={"steps": 12})

    def train(high_steps, stop_after=None, resume=False):
        trainer = make_trainer(config, tmp_path / "run")
        if resume:
            trainer.resume()
        make_loss = trainer.step.loss

        def loss(batch, carried):
            value, state = make_loss(batch, carried)
            return (value + 1000 if trainer.counters.step in high_steps else value), state

        monkeypatch.setattr(trainer.step, "loss", loss)
        events = []
        for event in trainer.run():
            events.append(event)
            if isinstance(event, Progress) and event.step == stop_after:
                trainer.request_stop()
        return trainer, events[-1]

    return train


@pytest.mark.parametrize("high_steps", [{0}, {0, 1, 2}, {4, 5, 6}, {2, 3, 4, 6, 7, 8}])
def test_run_with_a_spike_goes_on(train_with_spike, high_steps):
    """Also where the loss is high before the first update."""
    trainer, ended = train_with_spike(high_steps)
    assert (ended.stop_reason, ended.step) == ("budget", 12)
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 12


def test_loss_that_is_not_finite_after_a_high_one_is_named(train_with_spike, monkeypatch):
    high = set()

    def is_finite(nats):
        """Until the second of two high losses."""
        high.update({nats} if nats > 1000 else ())
        return len(high) < 2

    monkeypatch.setattr(divergence, "is_finite_loss", is_finite)
    _, ended = train_with_spike({3, 4})
    assert (ended.stop_reason, ended.step) == ("diverged", 4)
    assert "the loss diverged at step 5" in ended.advice


@pytest.mark.parametrize("stop_after", [None, 2, 4, 5])
def test_high_loss_that_lasts_ends_the_run_also_when_resumed(train_with_spike, stop_after):
    trainer, ended = train_with_spike({2, 3, 4, 5}, stop_after)
    if stop_after is not None:
        assert (ended.stop_reason, ended.step) == ("stopped", stop_after)
        trainer, ended = train_with_spike({2, 3, 4, 5}, resume=True)
    assert (ended.stop_reason, ended.step) == ("diverged", 5)
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == (stop_after or 0)


def test_advice_at_step_0_does_not_blame_the_learning_rate():
    config = parse_config({"corpus": {"source": "x"}}, "test").training
    first, later = (divergence_advice(config, "float32", step, math.nan, 1.0) for step in (0, 1))
    assert "the learning rate is not the cause" in first
    assert "sequence_length (now 64)" in first
    assert "learning_rate=0.00067" in later


@pytest.fixture
def train_on(make_config, make_trainer, tmp_path):
    def train(text, **training):
        path = tmp_path / "text.txt"
        path.write_text(text)
        config = make_config(corpus={"source": str(path)}, sample_length=0, schedule="constant", **training)
        trainer = make_trainer(config, tmp_path / "run", load_corpus(str(path)))
        return trainer.corpus.vocabulary.size, list(trainer.run())

    return train


def test_text_that_switches_symbols_is_not_divergence(train_on):
    """After many repetitions of one symbol, a healthy model gives the other less than 1 / V**3 for a while."""
    size, events = train_on("a" * 3000 + "b" * 3000, batch_size=1, learning_rate=3e-2, budget={"epochs": 1})
    assert size == 2
    worst = max(e.nats for e in events if isinstance(e, Progress))
    assert worst > 3 * math.log(2) + 1
    assert events[-1].stop_reason == "budget"


def test_unseen_validation_symbols_are_not_divergence(train_on):
    size, events = train_on("ab" * 1000 + "cde" * 75, learning_rate=0.1, budget={"steps": 150}, evaluate_every=50)
    assert size == 5
    assert events[-1].stop_reason == "budget"
    assert max(e.nats for e in events if isinstance(e, Evaluated)) > 3 * math.log(5) + 1


def test_kernel_that_gave_up_is_no_divergence(make_trainer, make_config):
    """The run can be resumed: the learning rate is not too high."""
    trainer = make_trainer(make_config(budget={"steps": 4}))
    nan_weight(trainer)
    trainer._divergence._group = SimpleNamespace(all_reduce_max=lambda mine: [mine, True])  # of another process
    with pytest.raises(UserError, match=r"waited in vain for the others, .* with --resume"):
        list(trainer.run())
