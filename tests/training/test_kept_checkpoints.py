"""Checkpoints that are kept beside the last and the best: which, also when a run is resumed, and how they are used."""

from __future__ import annotations

import math
import shutil
from types import SimpleNamespace

import pytest
import torch

import charlstm
from charlstm.checkpoints.format import load_checkpoint, pack
from charlstm.errors import UserError
from charlstm.training import updates
from charlstm.training.events import Progress


@pytest.fixture
def train(make_trainer, make_config, tmp_path):
    def train(keep, name="run", steps=12, resume=False, stop_after=None):
        config = make_config(evaluate_every=2, budget={"steps": steps}, keep_checkpoints=keep)
        trainer = make_trainer(config, tmp_path / name)
        if resume:
            trainer.resume()
        for event in trainer.run():
            if isinstance(event, Progress) and event.step == stop_after:
                trainer.request_stop()
        return trainer.directory

    return train


@pytest.mark.parametrize(
    ("keep", "steps"),
    [
        (0, []),
        (1, [12]),
        (3, [4, 8, 12]),
        (4, [4, 6, 10, 12]),
        (6, [2, 4, 6, 8, 10, 12]),
        (50, [2, 4, 6, 8, 10, 12]),
        ("all", [2, 4, 6, 8, 10, 12]),
    ],
)
def test_kept_checkpoints_are_evenly_spread_over_the_evaluations(train, keep, steps):
    directory = train(keep)
    assert [*directory.checkpoints.kept] == steps
    for step, path in directory.checkpoints.kept.items():
        assert path.name == f"step-{step:08d}.safetensors"
        assert load_checkpoint(path)[1]["counters"]["step"] == step
    assert directory.checkpoints.exists()


@pytest.mark.parametrize("keep", [3, "all"])
def test_resumed_run_keeps_what_an_uninterrupted_one_does(train, keep):
    whole, stopped = train(keep, "whole"), train(keep, "stopped", stop_after=7)
    store = stopped.checkpoints
    train(keep, "stopped", resume=True)
    assert [*store.kept] == [*whole.checkpoints.kept]
    shutil.copy(store.kept[4], store.last)  # as after a crash from which an older one was recovered
    store.previous.unlink()
    store.best.unlink()
    train(keep, "stopped", resume=True, stop_after=5)
    assert [*store.kept] == [step for step in whole.checkpoints.kept if step <= 4]
    train(keep, "stopped", resume=True)
    for ours, theirs in zip(store.kept.values(), whole.checkpoints.kept.values(), strict=True):
        (tensors, _), (expected, _) = load_checkpoint(ours), load_checkpoint(theirs)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(t, expected[name]) for name, t in tensors.items())


def test_number_of_kept_checkpoints_may_change_and_counts_for_the_longer_budget(train):
    train(3)
    assert [*train(3, steps=24, resume=True).checkpoints.kept] == [4, 8, 12, 16, 24]
    assert [*train("all", steps=28, resume=True).checkpoints.kept] == [4, 8, 12, 16, 24, 26, 28]


@pytest.mark.parametrize("slow_until", [20, 40])
def test_kept_checkpoints_are_as_many_as_asked_for_where_the_speed_changes(
    make_trainer, make_config, tmp_path, monkeypatch, slow_until
):
    """A second a step at first, then a tenth of one: evaluations 5 steps apart use uneven parts of the budget."""
    seconds, now = [1.0], [0.0]

    def perf_counter():
        now[0] += seconds[0]
        return now[0]

    monkeypatch.setattr(updates, "time", SimpleNamespace(perf_counter=perf_counter))
    config = make_config(evaluate_every=5, budget={"minutes": 1}, keep_checkpoints=5)
    used = {}
    for stop_at in (slow_until + 33, None):
        trainer = make_trainer(config, tmp_path / "run")
        if stop_at is None:
            trainer.resume()
        for event in trainer.run():
            if isinstance(event, Progress):
                used[event.step] = event.fraction
                seconds[0] = 1.0 if event.step < slow_until else 0.1
                if event.step == stop_at:
                    trainer.request_stop()
    kept = [*trainer.directory.checkpoints.kept]
    assert [math.floor(5 * used[step] + 1e-6) for step in kept] == [1, 2, 3, 4, 5]


def test_checkpoint_without_the_counters_of_kept_ones_is_resumed(train):
    store = train(3, stop_after=9).checkpoints
    tensors, header = load_checkpoint(store.last)
    for name in ("kept_step", "kept_epochs", "kept_seconds"):
        del header["counters"][name]
    store.last.write_bytes(b"".join(pack(tensors, header)))
    assert [*train(3, resume=True).checkpoints.kept] == [4, 8, 10, 12]


def test_kept_checkpoint_is_loaded_by_its_step(train):
    directory = train(3, stop_after=9)
    for step in (4, 8, 9):
        assert charlstm.load(directory.path, str(step)).header["counters"]["step"] == step
    by_file = charlstm.load(directory.checkpoints.kept[4])
    assert by_file.directory is not None
    assert by_file.header["counters"]["step"] == 4
    with pytest.raises(UserError, match=r"no checkpoint of step 5; there are 4, 8, 9$"):
        charlstm.load(directory.path, "5")


def test_run_with_nothing_but_kept_checkpoints_is_resumed_and_loaded_and_says_from_which(
    train, make_trainer, make_config, caplog
):
    directory = train(3)
    for path in directory.checkpoints.files:
        path.unlink(missing_ok=True)
    message = f"{directory.last}: no such checkpoint; "
    assert charlstm.load(directory.path).header["counters"]["step"] == 12
    assert caplog.messages == [f"{message}loaded step-00000012.safetensors instead"]
    directory.checkpoints.kept[12].unlink()
    config = make_config(evaluate_every=2, budget={"steps": 12}, keep_checkpoints=3)
    trainer = make_trainer(config, directory.path)
    assert trainer.resume()[0] == f"{message}resumed from step-00000008.safetensors, step 8"
    list(trainer.run())
    assert [*directory.checkpoints.kept] == [4, 8, 12]


def test_pruned_run_of_nothing_but_kept_checkpoints_keeps_the_latest(train):
    directory = train("all")
    for path in directory.checkpoints.files:
        path.unlink(missing_ok=True)
    directory.prune(keep_best=True)
    assert [*directory.checkpoints.kept] == [12]


@pytest.mark.parametrize("keep_best", [True, False])
def test_pruned_run_keeps_none(train, keep_best):
    directory = train("all")
    directory.prune(keep_best)
    assert directory.checkpoints.kept == {}
    assert directory.checkpoints.exists() == keep_best
