"""A resumed run equals an uninterrupted one bit for bit, and only training changes its state."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

import charlstm
from charlstm import atomic_io
from charlstm.checkpoints.format import load_checkpoint
from charlstm.errors import UserError
from charlstm.hardware.device import set_rng_states
from charlstm.text.corpus import load_corpus
from charlstm.training.events import Evaluated, Progress

STEPS = 40
STOPS = (1, 5, 6, 7, 17, 18, 33, 34)  # between records, around evaluations (every 6), the end of the epoch (17)
CLOCK = {"seconds", "recorded_seconds", "kept_seconds", "characters_per_second"}

CASES = {  # not covered by the cases of test_checkpoint_manager_laws.py
    "lstm": ({}, {}),
    "convolution of one": ({"front_end": "convolution", "kernel_sizes": [1], "filters": 4, "highway": True}, {}),
    "convolution bfloat16": ({"front_end": "convolution", "highway": True}, {"precision": "bfloat16"}),
    "residual": ({"num_layers": 3, "residual": True}, {}),
    "rare records": ({}, {"evaluate_every": 20 * 6}),
    "evaluations by budget": ({}, {"evaluate_every": None, "warmup_steps": None, "sample_length": 5}),
    "automatic precision": ({}, {"precision": "auto"}),
    "early stopping": ({}, {"early_stopping": 2, "optimizer": "sgd", "learning_rate": 1e-30}),
}


def train(make_trainer, config, path: Path, stops=(), corpus=None):
    """Train to the end, stopping after each of ``stops`` and resuming with a new trainer."""
    events = []
    for stop in (*stops, None):
        exists = path.exists()
        trainer = make_trainer(config, path) if corpus is None else make_trainer(config, path, corpus)
        if exists:
            assert trainer.resume() == []
        for event in trainer.run():
            events.append(event)
            if isinstance(event, Progress) and event.step == stop:
                trainer.request_stop()
        torch.rand(7)  # the RNG state may change between two trainers
    return events


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in CLOCK}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def run_content(path: Path) -> tuple[dict, object, list, str]:
    """All that a run has saved, except times."""
    tensors, header = {}, []
    for name in ("last", "best"):
        file = path / "checkpoints" / f"{name}.safetensors"
        if file.exists():
            loaded, loaded_header = load_checkpoint(file)
            tensors |= {f"{name} {key}": t for key, t in loaded.items()}
            header.append(without_times(loaded_header))
    metrics = [without_times(json.loads(line)) for line in (path / "metrics.jsonl").read_text().splitlines()]
    samples = path / "samples.txt"
    return tensors, header, metrics, samples.read_text() if samples.exists() else ""


def assert_same(a: Path, b: Path) -> None:
    (tensors, *rest), (others, *others_rest) = run_content(a), run_content(b)
    assert rest == others_rest
    assert tensors.keys() == others.keys()
    for name, t in tensors.items():
        assert t.dtype == others[name].dtype
        assert torch.equal(t, others[name]), name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.few(3)
def test_resumed_run_equals_uninterrupted_run(make_trainer, make_config, tmp_path, case):
    model, training = CASES[case]
    config = make_config(model, **{"budget": {"steps": STEPS}, **training})
    train(make_trainer, config, tmp_path / "uninterrupted")
    ended = json.loads((tmp_path / "uninterrupted" / "metrics.jsonl").read_text().splitlines()[-1])
    assert ended["stop_reason"] == ("early_stopping" if case == "early stopping" else "budget")
    stops = [stop for stop in STOPS if stop < ended["step"]]
    train(make_trainer, config, tmp_path / "stopped", stops)
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


@pytest.mark.parametrize(
    "stop", [1, 6, 17, 18, 39, *(pytest.param(s, marks=pytest.mark.slow) for s in (3, 16, 24, 35))]
)
@pytest.mark.few(2)
def test_run_stopped_once_equals_uninterrupted_run(make_trainer, make_config, tmp_path, stop):
    config = make_config({"dropout": 0.2}, budget={"steps": STEPS})
    train(make_trainer, config, tmp_path / "uninterrupted")
    train(make_trainer, config, tmp_path / "stopped", [stop])
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_killed_run_resumes_from_its_last_checkpoint(make_trainer, make_config, tmp_path):
    """Records and samples after the checkpoint are deleted and written again."""
    config = make_config({"dropout": 0.2}, budget={"steps": STEPS})
    train(make_trainer, config, tmp_path / "uninterrupted")
    for event in make_trainer(config, tmp_path / "killed").run():
        if event.step == 11:
            break
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 1')  # truncated
    train(make_trainer, config, tmp_path / "killed")
    assert_same(tmp_path / "uninterrupted", tmp_path / "killed")


def test_run_killed_in_its_first_save_starts_again(make_trainer, make_config, tmp_path, monkeypatch):
    config = make_config(budget={"steps": 2})
    killed = make_trainer(config, tmp_path / "run")

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(killed.directory.checkpoints), "save", kill)
        with pytest.raises(KeyboardInterrupt):
            list(killed.run())
    with (tmp_path / "run" / "metrics.jsonl").open("r+") as file:
        file.truncate(20)  # in the middle of the first record
    again = make_trainer(config, tmp_path / "run")
    assert again.resume() == ["this run has no checkpoint yet: it starts again from step 0"]
    list(again.run())
    assert [record["kind"] for record in again.directory.metrics()].count("start") == 1


def test_run_killed_between_best_and_last_resumes(make_trainer, make_config, tmp_path, monkeypatch):
    """``best`` may be newer than ``last``, but never worse than its counters."""
    config = make_config(budget={"steps": 18}, sample_length=0)
    train(make_trainer, config, tmp_path / "uninterrupted")
    trainer = make_trainer(config, tmp_path / "killed")
    write = atomic_io.staged_file

    def last_fails(path, *pieces):
        if path.name == "last.safetensors" and trainer.counters.step == 12:
            raise OSError(errno.ENOSPC, "no space left")
        return write(path, *pieces)

    monkeypatch.setattr(atomic_io, "staged_file", last_fails)
    with pytest.raises(UserError, match="no space"):
        list(trainer.run())
    monkeypatch.undo()
    counters = load_checkpoint(trainer.directory.last)[1]["counters"]
    best = load_checkpoint(trainer.directory.best)[1]["counters"]
    assert counters["step"] == 6
    assert best["best_nats"] <= counters["best_nats"]
    train(make_trainer, config, tmp_path / "killed")
    assert_same(tmp_path / "uninterrupted", tmp_path / "killed")


def test_longer_budget_continues_a_finished_run(make_trainer, make_config, tmp_path):
    short, long = (make_config(budget={"steps": steps}, schedule="constant", sample_length=0) for steps in (18, STEPS))
    train(make_trainer, long, tmp_path / "uninterrupted")
    train(make_trainer, short, tmp_path / "longer")
    steps = [e.step for e in train(make_trainer, long, tmp_path / "longer") if isinstance(e, Progress)]
    assert steps == list(range(19, STEPS + 1))
    ours, theirs = (
        load_checkpoint(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("uninterrupted", "longer")
    )
    assert all(torch.equal(t, theirs[0][name]) for name, t in ours[0].items())


def test_resuming_a_finished_run_changes_nothing(make_trainer, make_config, tmp_path):
    config = make_config(budget={"steps": 12})
    train(make_trainer, config, tmp_path / "run")
    before = run_content(tmp_path / "run")
    events = train(make_trainer, config, tmp_path / "run")
    assert [type(e).__name__ for e in events] == ["Ended"]
    after = run_content(tmp_path / "run")
    assert before[1:] == after[1:]


def test_same_seed_gives_identical_runs(make_trainer, make_config, tmp_path):
    model = {"dropout": 0.2, "num_layers": 2}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name))
        train(make_trainer, make_config(model, seed=seed), tmp_path / name)
    assert_same(tmp_path / "a", tmp_path / "b")
    a, c = run_content(tmp_path / "a")[0], run_content(tmp_path / "c")[0]
    assert not any(torch.equal(a[name], c[name]) for name in a if name.startswith("last model"))


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_evaluations_do_not_change_the_training(make_trainer, make_config, tmp_path, kind):
    model = {"dropout": 0.3, "dropout_kind": kind, "num_layers": 2}
    budget = {"steps": 20}
    often = make_config(model, evaluate_every=3, sample_length=30, budget=budget)
    never = make_config(model, evaluate_every=1000, sample_length=0, budget=budget)
    checkpoints = []
    for name, config in (("often", often), ("never", never)):
        trainer = make_trainer(config, tmp_path / name)
        count = sum(isinstance(e, Evaluated) for e in trainer.run())
        assert count == (7 if name == "often" else 1)
        checkpoints.append(load_checkpoint(trainer.directory.last)[0])
    assert checkpoints[0].keys() == checkpoints[1].keys()
    for name, t in checkpoints[0].items():
        assert torch.equal(t, checkpoints[1][name]), name


def test_evaluation_does_not_change_any_tensor(make_trainer, make_config):
    trainer = make_trainer(make_config({"dropout": 0.3}))
    next(e for e in trainer.run() if isinstance(e, Progress))
    random, state = torch.get_rng_state(), [part.clone() for part in trainer.state.carried]
    weights = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    trainer._evaluate()
    charlstm.load(trainer.directory.path)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(state, trainer.state.carried, strict=True))
    assert any(part.any() for part in state)
    assert all(torch.equal(t, weights[name]) for name, t in trainer.model.state_dict().items())
    assert trainer.model.training


# settings that must not change


@pytest.mark.parametrize(
    ("model", "training", "split", "words"),
    [
        ({"hidden_size": 9}, {}, {}, ["model.hidden_size", "8", "9"]),
        ({"cell": "gru"}, {}, {}, ["model.cell", "lstm", "gru"]),
        ({"dropout": 0.5}, {}, {}, ["model.dropout", "0.0", "0.5"]),
        ({}, {"seed": 2}, {}, ["training.seed", "1", "2"]),
        ({}, {"batch_size": 3}, {}, ["training.batch_size", "4", "3"]),
        ({}, {"sequence_length": 10}, {}, ["training.sequence_length", "20", "10"]),
        ({}, {"optimizer": "sgd"}, {}, ["training.optimizer", "adamw", "sgd"]),
        ({}, {"schedule": "constant"}, {}, ["training.schedule", "cosine", "constant"]),
        ({}, {}, {"validation_fraction": 0.2}, ["corpus.validation_fraction", "0.1", "0.2"]),
    ],
    ids=str,
)
def test_resume_names_what_changed(make_trainer, make_config, tmp_path, model, training, split, words):
    path = tmp_path / "run"
    train(make_trainer, make_config(budget={"steps": 2}), path)
    trainer = make_trainer(make_config(model, split, **training), path)
    before = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        trainer.resume()
    field, old, new = words
    assert f"{field} was {old}, is {new}" in str(caught.value)
    assert str(caught.value).count(" was ") == 1
    assert all(torch.equal(t, before[name]) for name, t in trainer.model.state_dict().items())


def test_resume_refuses_another_text_and_accepts_a_moved_one(make_trainer, make_config, tmp_path, text):
    path = tmp_path / "run"
    train(make_trainer, make_config(budget={"steps": 2}), path)
    changed = tmp_path / "changed.txt"
    changed.write_text(text[:-1] + "e", encoding="utf-8")
    config = make_config(corpus={"source": str(changed)})
    with pytest.raises(UserError, match=f"changed text:  charlstm train {changed} --from {path} --name run-2"):
        make_trainer(config, path, load_corpus(str(changed))).resume()
    changed.write_text(text, encoding="utf-8")
    assert make_trainer(config, path, load_corpus(str(changed))).resume() == []


@pytest.mark.parametrize(
    "training",
    [
        {"budget": {"epochs": 3.0}},
        {"evaluate_every": 2},
        {"sample_length": 0},
        {"early_stopping": 1},
        {"learning_rate": 1e-4},
        {"clip_grad_norm": None},
    ],
    ids=str,
)
def test_resume_accepts_settings_that_may_change(make_trainer, make_config, tmp_path, training):
    train(make_trainer, make_config(budget={"steps": 2}), tmp_path / "run")
    assert make_trainer(make_config(**training), tmp_path / "run").resume() == []


def test_resume_reports_differences_of_the_machine(make_trainer, make_config, tmp_path, monkeypatch):
    train(make_trainer, make_config(budget={"steps": 2}), tmp_path / "run")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    (difference,) = make_trainer(make_config(), tmp_path / "run").resume()
    assert "threads was 1, is 3" in difference


def test_resume_refuses_a_run_of_damaged_checkpoints(make_trainer, make_config, tmp_path):
    train(make_trainer, make_config(budget={"steps": 2}), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 4
        path.write_bytes(content)
    with pytest.raises(UserError, match="no checkpoint of this run can be used") as caught:
        make_trainer(make_config(), tmp_path / "run").resume()
    assert all(f"{name}.safetensors: damaged" in str(caught.value) for name in ("last", "previous", "best"))


def test_checkpoint_of_a_gpu_resumes_on_the_cpu(make_trainer, make_config, tmp_path):
    """The RNG state of the GPU is ignored; everything else is restored."""
    config = make_config({"dropout": 0.2})
    train(make_trainer, config, tmp_path / "uninterrupted")
    trainer = make_trainer(config, tmp_path / "moved")
    for event in trainer.run():
        if isinstance(event, Progress) and event.step == 7:
            trainer.request_stop()
    tensors, header = load_checkpoint(trainer.directory.last)
    cuda_state = {"random.cuda": torch.zeros(16, dtype=torch.uint8)}
    trainer.directory.checkpoints.save(tensors | cuda_state, header | {"device": "NVIDIA H100"}, best=False)
    trainer = make_trainer(config, tmp_path / "moved")
    assert trainer.resume() == ["device was NVIDIA H100, is cpu: results will differ in rounding"]
    list(trainer.run())
    assert_same(tmp_path / "uninterrupted", tmp_path / "moved")


def test_missing_gpu_rng_state_is_not_restored():
    """The state of the CPU is restored; setting that of a missing GPU would raise."""
    before = torch.get_rng_state()
    torch.rand(3)
    for device in ("cuda", "mps"):
        set_rng_states(torch.device(device), {"cpu": before})
    assert torch.equal(torch.get_rng_state(), before)
