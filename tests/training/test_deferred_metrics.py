"""Metrics read some steps at a time, as on a GPU: forced on the CPU, the run stays the same."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from test_checkpoint_manager import assert_same

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import parse_config
from charlstm.runs.directory import RunDirectory
from charlstm.training import updates
from charlstm.training.advice import divergence_advice
from charlstm.training.deferred_metrics import DeferredMetrics, PendingStep
from charlstm.training.events import Evaluated, Notice, Progress

TIMES = ("seconds", "characters_per_second")


@pytest.fixture
def make_asynchronous(make_trainer, monkeypatch):
    """A trainer that reads the metrics of ``read_every`` steps at a time."""

    def make(config, path, read_every):
        trainer = make_trainer(config, path)
        trainer.updates.metrics.is_asynchronous = True
        monkeypatch.setattr(trainer.updates.metrics, "set_pace", lambda *_: None)
        trainer.updates.metrics._read_every = read_every
        return trainer

    return make


def metrics_without_times(path):
    records = RunDirectory(path).metrics()
    return [{name: value for name, value in line.items() if name not in TIMES} for line in records]


@pytest.mark.parametrize("read_every", [1, 3, 1000])
def test_run_does_not_depend_on_read_interval(make_asynchronous, make_trainer, make_config, tmp_path, read_every):
    settings = {"evaluate_every": 90, "budget": {"steps": 23}, "clip_grad_norm": 0.27}  # a record every four steps
    config = make_config({"dropout": 0.2}, **settings)
    each = list(make_trainer(config, tmp_path / "each").run())
    events = list(make_asynchronous(config, tmp_path / "deferred", read_every).run())
    assert_same(tmp_path / "each", tmp_path / "deferred")
    assert metrics_without_times(tmp_path / "each") == metrics_without_times(tmp_path / "deferred")
    progress = [
        [(e.step, e.epoch, e.nats, e.gradient_norm) for e in run if isinstance(e, Progress)] for run in (each, events)
    ]
    assert set(progress[1]) <= set(progress[0])
    expected = {1: range(1, 24), 3: [3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23], 1000: [4, 8, 12, 16, 20, 23]}
    assert [step for step, *_ in progress[1]] == list(expected[read_every])


@pytest.mark.parametrize("request_name", ["request_stop", "request_save"])
@pytest.mark.parametrize("when", ["step", "after"])
def test_checkpoint_includes_all_pending_steps(
    make_asynchronous, make_config, tmp_path, monkeypatch, request_name, when
):
    """A stop or a save requested while steps are pending: during a step, or just after the decision not to read yet."""
    config = make_config({"dropout": 0.2}, evaluate_every=90, budget={"steps": 23})
    list(make_asynchronous(config, tmp_path / "uninterrupted", 1000).run())
    trainer = make_asynchronous(config, tmp_path / "run", 1000)
    method = trainer.step.update if when == "step" else trainer._step

    def method_with_request(*arguments):
        result = method(*arguments)
        if trainer.counters.step == (6 if when == "step" else 7):
            getattr(trainer, request_name)()
        return result

    monkeypatch.setattr(*((trainer.step, "update") if when == "step" else (trainer, "_step")), method_with_request)
    events = iter(trainer.run())
    for event in events:
        if isinstance(event, Notice):
            break
    saved = 7 if request_name == "request_stop" or when == "step" else 8
    header = load_checkpoint(trainer.directory.last)[1]
    assert header["counters"]["step"] == saved
    assert header["counters"]["sum_count"] == 80 * (saved - 4) if saved < 8 else header["counters"]["sum_count"] == 0
    again = make_asynchronous(config, tmp_path / "run", 1000)
    again.resume()
    list(again.run())
    assert_same(tmp_path / "uninterrupted", tmp_path / "run")


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("read_at", ["record", "stop"])
def test_late_divergence_is_reported_and_not_saved(
    make_asynchronous, make_config, tmp_path, monkeypatch, factor, read_at
):
    config = make_config(evaluate_every=100, budget={"steps": 200})  # a record every five steps
    trainer = make_asynchronous(config, tmp_path / "run", 1000)
    make_loss = trainer.step.loss

    def loss(x, carried):
        value, state = make_loss(x, carried)
        if trainer.counters.step == 8 and read_at == "stop":
            trainer.request_stop()
        return (value * factor if trainer.counters.step == 6 else value), state

    monkeypatch.setattr(trainer.step, "loss", loss)
    *events, ended = trainer.run()
    assert (ended.stop_reason, ended.step, ended.characters) == ("diverged", 6, 6 * 80)
    assert "loss diverged at step 7" in ended.advice
    assert "that step was not saved" in ended.advice
    assert not any(isinstance(e, Evaluated) for e in events)
    assert trainer.directory.metrics()[-1]["step"] == 6
    header = load_checkpoint(trainer.directory.last)[1]
    assert header["counters"]["step"] == 0


def test_advice_tells_whether_the_step_was_applied():
    config = parse_config({"corpus": {"source": "x"}}, "test").training
    synchronous, asynchronous = (
        divergence_advice(config, "float32", 5, math.nan, 1.0, applied=applied) for applied in (False, True)
    )
    assert "not applied" in synchronous
    assert "not saved" in asynchronous


def test_training_time_includes_waiting_for_the_device(make_asynchronous, make_config, tmp_path, monkeypatch):
    """Each step takes 0.1 seconds to launch and 2 seconds to run; the read waits for it."""
    now, pending = [0.0], [0]
    monkeypatch.setattr(updates, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    config = make_config(budget={"minutes": 1.0}, evaluate_every=1000, sample_length=0)
    trainer = make_asynchronous(config, tmp_path / "run", 5)
    gradients, read = trainer.step.gradients, trainer.updates.metrics.read

    def launch(*arguments):
        now[0] += 0.1
        pending[0] += 1
        return gradients(*arguments)

    def wait_and_read():
        now[0] += 2.0 * pending[0]
        pending[0] = 0
        yield from read()

    monkeypatch.setattr(trainer.step, "gradients", launch)
    monkeypatch.setattr(trainer.updates.metrics, "read", wait_and_read)
    ended = list(trainer.run())[-1]
    assert (ended.stop_reason, ended.step) == ("budget", 30)  # the first read past a minute
    assert ended.seconds == pytest.approx(30 * 2.1)


def test_metrics_are_read_every_fifth_of_a_second():
    metrics = DeferredMetrics(torch.device("meta"))
    assert metrics.is_asynchronous
    assert not DeferredMetrics(torch.device("cpu")).is_asynchronous
    steps, seconds, unread = 0, 0.0, []
    for _ in range(2000):  # steps of a hundredth of a second
        metrics.append(PendingStep(0, 0, 1, torch.zeros(2)))
        steps, seconds = steps + 1, seconds + 0.01
        if metrics.is_due:
            unread.append(len(metrics))
            metrics._pending.clear()
            metrics.set_pace(unread[-1], seconds)
    assert unread[:6] == [1, 2, 4, 8, 16, 20]
    assert set(unread[6:]) == {20}
    metrics.set_pace(20, seconds + 20.0)  # then one second each: every step is read
    assert metrics._read_every == 1
    for _ in range(20):
        metrics.set_pace(metrics._read_every, seconds + 20.0)  # then no time at all
    assert metrics._read_every == 256


def test_metrics_are_read_in_order_and_once():
    metrics = DeferredMetrics(torch.device("cpu"))
    assert list(metrics.read()) == []
    for k in range(3):
        metrics.append(PendingStep(k, 10 * k, 10, torch.tensor([k + 0.5, k + 0.25])))
    assert len(metrics) == 3
    assert [(b.steps_before, b.characters_before, nats, norm) for b, nats, norm in metrics.read()] == [
        (0, 0, 0.5, 0.25),
        (1, 10, 1.5, 1.25),
        (2, 20, 2.5, 2.25),
    ]
    assert len(metrics) == 0
