"""``auto`` chooses the executor that was measured to train fastest, and a resumed run keeps its executor."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

import charlstm
from charlstm.executors import measurement_cache
from charlstm.training import fastest_executor
from charlstm.training.fastest_executor import (
    ELIMINATION_RATIO,
    MAX_ROUNDS,
    TIE_RATIO,
    WARM_UP_ROUNDS,
    measure_round_robin,
    pick,
)


def finish(trainer):
    return list(trainer.run())


@pytest.fixture(autouse=True)
def _measure(monkeypatch):
    monkeypatch.delenv("CHARLSTM_MEASURE")


@pytest.fixture
def timings(monkeypatch, tmp_path):
    """Simulated seconds per executor name; 1 second by default."""
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    seconds: dict[str, float] = {}

    def measure(runs, clock):
        for run in runs.values():
            run()
        return {name: seconds.get(name, 1.0) for name in runs}

    monkeypatch.setattr(fastest_executor, "measure_round_robin", measure)
    return seconds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"cpp": 1.0, "vendor": 2.0}, "cpp"),
        ({"cpp": TIE_RATIO, "vendor": 1.0}, "cpp"),
        ({"cpp": TIE_RATIO + 0.01, "vendor": 1.0}, "vendor"),
        ({"cpp": 2.0, "vendor": 1.02, "eager": 1.0}, "vendor"),
    ],
)
def test_first_candidate_within_tie_ratio_is_picked(seconds, expected):
    assert pick(seconds) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_other_work_on_the_machine_does_not_count_for_one_thread(monkeypatch, threads, make_trainer, make_config):
    clocks, measure = [], fastest_executor.measure_round_robin
    record = lambda runs, clock: clocks.append(clock) or measure(runs, clock)  # noqa: E731
    monkeypatch.setattr(fastest_executor, "measure_round_robin", record)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    make_trainer(make_config()).execution.choose_executor()
    assert clocks == [time.thread_time if threads == 1 else time.perf_counter]


def test_slow_candidates_are_eliminated_from_the_rounds():
    now, order = [0.0], []
    costs = {"a": 0.01, "b": 0.01 * ELIMINATION_RATIO * 1.01, "c": 0.0101}

    def run(name):
        order.append(name)
        now[0] += costs[name]

    seconds = measure_round_robin({name: lambda name=name: run(name) for name in costs}, lambda: now[0])
    assert seconds == pytest.approx(costs)
    assert {name: order.count(name) for name in costs} == {
        "a": MAX_ROUNDS + WARM_UP_ROUNDS,
        "b": fastest_executor.MIN_ROUNDS + WARM_UP_ROUNDS,
        "c": MAX_ROUNDS + WARM_UP_ROUNDS,
    }
    assert order[3 * WARM_UP_ROUNDS :][:6] == ["a", "b", "c"] * 2


def test_time_limit_ends_the_rounds():
    now = [0.0]

    def run():
        now[0] += fastest_executor.TIME_LIMIT

    measure_round_robin({"a": run, "b": run}, lambda: now[0])
    assert now[0] == 2 * fastest_executor.TIME_LIMIT * (WARM_UP_ROUNDS + fastest_executor.MIN_ROUNDS)


@pytest.mark.parametrize("name", ["eager", "vendor"])
def test_run_uses_fastest_executor_also_after_resume(make_trainer, make_config, timings, tmp_path, name):
    timings[name] = 0.5
    trainer = make_trainer(make_config(budget={"steps": 8}))
    finish(trainer)
    assert trainer.execution.executors() == [name]
    assert trainer.model.recurrent.preferred_executor == name
    assert "fastest" in trainer.execution.choices()[0].reason
    for path in (tmp_path / "cache").rglob("executors-*.json"):
        path.unlink()
    timings[name] = 2.0  # now another executor would be faster
    resumed = make_trainer(make_config(budget={"steps": 12}), tmp_path / "run")
    assert resumed.resume() == []
    finish(resumed)
    assert resumed.execution.executors() == [name]
    assert resumed.execution.choices()[0].reason.startswith("the run started with it")
    assert charlstm.load(tmp_path / "run", device="cpu").model.recurrent.preferred_executor == name


def test_measuring_does_not_change_the_training_state(make_trainer, make_config, timings):
    timings["eager"] = 0.5
    trainer = make_trainer(make_config({"dropout": 0.3}))
    before = [p.clone() for p in trainer.model.parameters()], torch.get_rng_state()
    trainer.execution.choose_executor()
    assert all(map(torch.equal, trainer.model.parameters(), before[0]))
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(p.grad is None for p in trainer.model.parameters())
    assert trainer.counters.step == 0


def test_configured_executor_is_not_measured(make_trainer, make_config, timings, monkeypatch):
    monkeypatch.setattr(fastest_executor, "measure_round_robin", lambda _: pytest.fail("measured"))
    trainer = make_trainer(make_config({"executor": "eager"}))
    trainer.execution.choose_executor()
    assert trainer.execution.executors() == ["eager"]


def test_measuring_can_be_switched_off(make_trainer, make_config, monkeypatch):
    monkeypatch.setenv("CHARLSTM_MEASURE", "0")
    monkeypatch.setattr(fastest_executor, "measure_round_robin", lambda _: pytest.fail("measured"))
    trainer = make_trainer(make_config())
    trainer.execution.choose_executor()
    assert trainer.model.recurrent.preferred_executor is None


def test_huge_time_steps_are_not_measured(make_trainer, make_config, monkeypatch):
    monkeypatch.setattr(fastest_executor, "MAX_MULTIPLY_ADDS", 1.0)
    monkeypatch.setattr(fastest_executor, "measure_round_robin", lambda _: pytest.fail("measured"))
    trainer = make_trainer(make_config())
    trainer.execution.choose_executor()
    assert trainer.model.recurrent.preferred_executor is None


def test_measured_steps_are_of_bounded_size(make_trainer, make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    shapes = []
    trainer = make_trainer(make_config())
    per_step = fastest_executor.training_multiply_adds(trainer.model, 4, 2) / 2
    monkeypatch.setattr(fastest_executor, "MAX_MULTIPLY_ADDS", 7.5 * per_step)
    monkeypatch.setattr(
        fastest_executor, "_measure", lambda _s, _m, ids, names: shapes.append(tuple(ids.shape)) or {names[0]: 1.0}
    )
    trainer.execution.choose_executor()
    assert shapes == [(7, 4)]


def test_measurement_is_cached_until_its_key_changes(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path))
    calls = []

    def measure():
        calls.append(1)
        return {"cpp": float(len(calls))}

    for key, expected in (([1], 1.0), ([1], 1.0), ([2], 2.0), ([1], 1.0)):
        assert measurement_cache.cached_measurement("executors", key, measure)["cpp"] == expected
    torch.set_num_threads(2)
    try:
        assert measurement_cache.cached_measurement("executors", [1], measure)["cpp"] == 3.0
    finally:
        torch.set_num_threads(1)


def test_first_of_two_concurrent_measurements_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path))

    def slow():
        measurement_cache.cached_measurement("executors", [], lambda: {"cpp": 1.0})  # another process at the same time
        return {"cpp": 2.0}

    assert measurement_cache.cached_measurement("executors", [], slow) == {"cpp": 1.0}


@pytest.mark.parametrize("content", ["", "{broken", "[]", "5", '{"cpp": null}', '{"other": 1}'])
def test_damaged_measurement_cache_is_ignored(content, make_trainer, make_config, timings, tmp_path):
    trainer = make_trainer(make_config())
    trainer.execution.choose_executor()
    (path,) = (tmp_path / "cache" / "measured").glob("executors-*.json")
    assert json.loads(path.read_text())
    path.write_text(content)
    again = make_trainer(make_config(), tmp_path / "again")
    again.execution.choose_executor()
    again.execution.choices()


def test_read_only_measurement_cache_is_ignored(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CHARLSTM_CACHE", str(blocked))
    assert measurement_cache.cached_measurement("executors", [], lambda: {"cpp": 1.0}) == {"cpp": 1.0}
    assert Path(blocked).read_text() == ""
