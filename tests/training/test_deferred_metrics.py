"""Losses that are read some steps at a time, as on a GPU: the CPU is told to do so too, and the run is the same."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from test_training_resume import assert_same

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import parse_config
from charlstm.training import trainer as trainer_module
from charlstm.training.advice import divergence_advice
from charlstm.training.deferred_metrics import DeferredMetrics, PendingStep, has_diverged
from charlstm.training.events import Evaluated, Notice, Progress

TIMES = ("seconds", "characters_per_second")


@pytest.fixture
def ahead(make_trainer, monkeypatch):
    """A trainer that reads the figures of so many steps together."""

    def make(config, path, together):
        trainer = make_trainer(config, path)
        trainer.figures.ahead = True
        monkeypatch.setattr(trainer.figures, "set_pace", lambda *_: None)
        trainer.figures._together = together
        return trainer

    return make


def lines(path):
    found = trainer_module.RunDirectory(path).metrics()
    return [{name: value for name, value in line.items() if name not in TIMES} for line in found]


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_the_run_is_the_same_however_rarely_they_are_read(ahead, make_trainer, make_config, tmp_path, together):
    settings = {"evaluate_every": 90, "budget": {"steps": 23}, "clip_grad_norm": 0.27}  # a record every four steps
    config = make_config({"dropout": 0.2}, **settings)
    each = list(make_trainer(config, tmp_path / "each").run())
    events = list(ahead(config, tmp_path / "together", together).run())
    assert_same(tmp_path / "each", tmp_path / "together")
    assert lines(tmp_path / "each") == lines(tmp_path / "together")
    told = [
        [(e.step, e.epoch, e.nats, e.gradient_norm) for e in of if isinstance(e, Progress)] for of in (each, events)
    ]
    assert set(told[1]) <= set(told[0])
    expected = {1: range(1, 24), 3: [3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23], 1000: [4, 8, 12, 16, 20, 23]}
    assert [step for step, *_ in told[1]] == list(expected[together])


@pytest.mark.parametrize("ask", ["request_stop", "request_save"])
@pytest.mark.parametrize("when", ["step", "after"])
def test_what_is_saved_has_all_of_the_steps_in_it(ahead, make_config, tmp_path, monkeypatch, ask, when):
    """A stop or a save that is asked for while unread steps are under way: in a step, or when it was just decided that
    its figures need not be read yet."""
    config = make_config({"dropout": 0.2}, evaluate_every=90, budget={"steps": 23})
    list(ahead(config, tmp_path / "whole", 1000).run())
    trainer = ahead(config, tmp_path / "run", 1000)
    method = trainer.step.update if when == "step" else trainer._step

    def asking(*arguments):
        found = method(*arguments)
        if trainer.counters.step == (6 if when == "step" else 7):
            getattr(trainer, ask)()
        return found

    monkeypatch.setattr(*((trainer.step, "update") if when == "step" else (trainer, "_step")), asking)
    events = iter(trainer.run())
    for event in events:
        if isinstance(event, Notice):
            break
    saved = 7 if ask == "request_stop" or when == "step" else 8
    header = load_checkpoint(trainer.directory.last)[1]
    assert header["counters"]["step"] == saved
    assert header["counters"]["sum_count"] == 80 * (saved - 4) if saved < 8 else header["counters"]["sum_count"] == 0
    again = ahead(config, tmp_path / "run", 1000)
    again.resume()
    list(again.run())
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("bad", [math.nan, 1e4])
@pytest.mark.parametrize("found", ["at a record", "at a stop"])
def test_a_bad_step_is_named_though_others_followed_it_and_nothing_since_is_saved(
    ahead, make_config, tmp_path, monkeypatch, bad, found
):
    config = make_config(evaluate_every=100, budget={"steps": 200})  # a record every five steps
    trainer = ahead(config, tmp_path / "run", 1000)
    make_loss = trainer.step.loss

    def loss(batch, carried):
        value, state = make_loss(batch, carried)
        if trainer.counters.step == 8 and found == "at a stop":
            trainer.request_stop()
        return (value * bad if trainer.counters.step == 6 else value), state

    monkeypatch.setattr(trainer.step, "loss", loss)
    *events, ended = trainer.run()
    assert (ended.why, ended.step, ended.characters) == ("diverged", 6, 6 * 80)
    assert "loss went bad at step 7" in ended.advice
    assert "that step was not saved" in ended.advice
    assert not any(isinstance(e, Evaluated) for e in events)
    assert trainer.directory.metrics()[-1]["step"] == 6
    header = load_checkpoint(trainer.directory.last)[1]
    assert header["counters"]["step"] == 0


def test_only_a_step_that_is_seen_at_once_is_not_applied():
    config = parse_config({"corpus": {"source": "x"}}, "test").training
    at_once, later = (divergence_advice(config, "float32", 5, math.nan, 1.0, applied) for applied in (False, True))
    assert "not applied" in at_once
    assert "not saved" in later


def test_training_time_is_that_of_the_work_not_of_giving_it(ahead, make_config, tmp_path, monkeypatch):
    """Each step takes a tenth of a second to ask for and two seconds to do; the wait is at the reading."""
    now, waiting = [0.0], [0]
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    config = make_config(budget={"minutes": 1.0}, evaluate_every=1000, sample_length=0)
    trainer = ahead(config, tmp_path / "run", 5)
    gradients, read = trainer.step.gradients, trainer.figures.read

    def asking(*arguments):
        now[0] += 0.1
        waiting[0] += 1
        return gradients(*arguments)

    def doing():
        now[0] += 2.0 * waiting[0]
        waiting[0] = 0
        yield from read()

    monkeypatch.setattr(trainer.step, "gradients", asking)
    monkeypatch.setattr(trainer.figures, "read", doing)
    ended = list(trainer.run())[-1]
    assert (ended.why, ended.step) == ("budget", 30)  # the first reading past a minute
    assert ended.seconds == pytest.approx(30 * 2.1)


def test_they_are_read_about_every_fifth_of_a_second():
    figures = DeferredMetrics(torch.device("meta"))
    assert figures.ahead
    assert not DeferredMetrics(torch.device("cpu")).ahead
    steps, seconds, unread = 0, 0.0, []
    for _ in range(2000):  # steps of a hundredth of a second
        figures.keep(PendingStep(0, 0, 1, torch.zeros(2)))
        steps, seconds = steps + 1, seconds + 0.01
        if figures.due:
            unread.append(len(figures))
            figures._kept.clear()
            figures.set_pace(unread[-1], seconds)
    assert unread[:6] == [1, 2, 4, 8, 16, 20]
    assert set(unread[6:]) == {20}
    figures.set_pace(20, seconds + 20.0)  # then of a second each: every one is read
    assert figures._together == 1
    for _ in range(20):
        figures.set_pace(figures._together, seconds + 20.0)  # of no time at all
    assert figures._together == 256


@pytest.mark.parametrize(
    ("nats", "symbols", "expected"),
    [
        (25.0, 2, False),
        (25.001, 2, True),
        (3 * math.log(10**6) + 0.999, 10**6, False),
        (3 * math.log(10**6) + 1.001, 10**6, True),
        (math.inf, 10**6, True),
        (-math.inf, 2, True),
        (math.nan, 2, True),
    ],
)
def test_a_loss_goes_bad_above_25_nats_and_3_ln_v_plus_1(nats, symbols, expected):
    assert has_diverged(nats, symbols) is expected


def test_they_come_in_order_and_once():
    figures = DeferredMetrics(torch.device("cpu"))
    assert list(figures.read()) == []
    for k in range(3):
        figures.keep(PendingStep(k, 10 * k, 10, torch.tensor([k + 0.5, k + 0.25])))
    assert len(figures) == 3
    assert [(b.steps_before, b.characters_before, nats, norm) for b, nats, norm in figures.read()] == [
        (0, 0, 0.5, 0.25),
        (1, 10, 1.5, 1.25),
        (2, 20, 2.5, 2.25),
    ]
    assert len(figures) == 0
