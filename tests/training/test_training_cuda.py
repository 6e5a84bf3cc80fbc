"""Training on an NVIDIA GPU; skipped without one."""

from __future__ import annotations

import pytest
import torch
from modes import waiting_refused
from test_checkpoint_manager import assert_same, train
from test_distributed import train_cases

from charlstm.checkpoints.format import load_checkpoint
from charlstm.errors import UserError
from charlstm.executors.triton import choice
from charlstm.executors.triton.persistent import Division, gave_up_flag
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training import initial_state
from charlstm.training.captured_steps import WARM_UP, _CapturedStep
from charlstm.training.events import Ended, Evaluated, Notice
from charlstm.training.loader import PrefetchLoader

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

MODELS = [
    {"cell": "lstm", "dropout": 0.2, "num_layers": 2},
    {"cell": "gru", "reset_after": False, "front_end": "embedding"},
    {"cell": "peephole", "direction": "bidirectional"},
    {"cell": "leaky", "front_end": "convolution", "highway": True},
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m["cell"])
@pytest.mark.parametrize(("input_masking", "prefetch"), [(0.0, False), (0.2, False), (0.2, True)])
def test_training_step_never_waits_for_the_gpu(
    make_trainer, make_config, monkeypatch, model, precision, input_masking, prefetch
):
    """After some steps, which compile kernels and capture graphs, torch raises where the CPU waits."""
    if prefetch:
        monkeypatch.setattr(initial_state, "make_batch_source", lambda streams, gpu, _: PrefetchLoader(streams, gpu))
    settings = {"evaluate_every": 10_000, "budget": {"steps": 10_000}, "input_masking": input_masking}
    trainer = make_trainer(make_config(model, precision=precision, device="cuda", **settings))
    trainer.updates.metrics._read_every = 1000
    for _ in range(72):  # four epochs of 17 steps, whose last batches are captured in the fourth
        trainer._step()
    with waiting_refused():
        for _ in range(20):  # past the end of an epoch
            assert trainer._step() is None
    assert trainer.updates.read_pending() is None


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize(
    ("executor", "precision"), [("vendor", "float32"), ("triton", "float32"), ("triton", "bfloat16")]
)
def test_resumed_run_equals_uninterrupted_run(
    make_trainer, make_config, monkeypatch, tmp_path, executor, precision, prefetch
):
    if prefetch:
        monkeypatch.setattr(initial_state, "make_batch_source", lambda streams, gpu, _: PrefetchLoader(streams, gpu))
    model = {"executor": executor, "dropout": 0.2, "num_layers": 2, "hidden_size": 64}
    config = make_config(model, device="cuda", precision=precision, batch_size=16)
    list(make_trainer(config, tmp_path / "uninterrupted").run())
    for stop in (5, 11, None):
        trainer = make_trainer(config, tmp_path / "stopped")
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        trainer.updates.metrics._read_every = 1
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m["cell"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_captured_steps_equal_launched_ones(
    make_trainer, make_config, monkeypatch, tmp_path, model, precision, optimizer
):
    """Bit for bit, in seven epochs of 5 steps, with the random numbers of dropouts."""
    dropouts = {"dropout": 0.2, "weight_drop": 0.2, "dropout_kind": "elementwise"}
    if optimizer == "adamw":
        dropouts["state_dropout"] = 0.1  # makes another cell, without a layer of torch
    training = {"optimizer": optimizer, "reset_state": 0.1, "activation_regularization": 1.0, "evaluate_every": 8}
    config = make_config(
        {**dropouts, **model}, device="cuda", precision=precision, batch_size=16, budget={"steps": 34}, **training
    )
    for name, reason in (("launched", "not in this test"), ("captured", None)):
        monkeypatch.setattr("charlstm.training.captured_steps.why_not_captured", lambda *_, reason=reason: reason)
        trainer = make_trainer(config, tmp_path / name)
        replayed = count_replays(monkeypatch)
        assert not [event for event in trainer.run() if isinstance(event, Notice)]
        assert len(replayed) == (0 if reason else 34 - 2 * WARM_UP)  # of last batches, and of all others
    assert_same(tmp_path / "launched", tmp_path / "captured")


def count_replays(monkeypatch):
    replays, replay = [], _CapturedStep.replay
    monkeypatch.setattr(_CapturedStep, "replay", lambda *arguments: replays.append(1) or replay(*arguments))
    return replays


def divide(shape):
    """Each loop in one kernel."""
    gave_up_flag(shape.device)
    return choice.division_of(shape) if shape.training else Division()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_captured_steps_with_one_kernel_equal_launched_ones(make_trainer, make_config, monkeypatch, tmp_path, cell):
    """A cooperative launch within the graph of a step."""
    monkeypatch.setattr("charlstm.executors.triton.pool.choose_division", divide)
    model = {"cell": cell, "executor": "triton", "hidden_size": 64, "num_layers": 2}
    config = make_config(model, device="cuda", batch_size=16)
    for name, reason in (("launched", "not in this test"), ("captured", None)):
        monkeypatch.setattr("charlstm.training.captured_steps.why_not_captured", lambda *_, reason=reason: reason)
        list(make_trainer(config, tmp_path / name).run())
    assert_same(tmp_path / "launched", tmp_path / "captured")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_equal_one(make_trainer, make_config, tmp_path):
    config = make_config({"dropout": 0.3, "num_layers": 2}, device="cuda", budget={"steps": 16})
    train_cases(tmp_path, {"two": (config.model_dump(mode="json", exclude_unset=True), [])}, 2)
    list(make_trainer(config, tmp_path / "one").run())
    scores = [[r["nats"] for r in RunDirectory(tmp_path / name).metrics() if "nats" in r] for name in ("one", "two")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_run_moves_between_devices(make_trainer, make_config, tmp_path, optimizer):
    """Stopped on one device, resumed on the other, and back: the losses equal those of the CPU up to rounding."""
    settings = {"optimizer": optimizer, "learning_rate": 1e-3, "budget": {"steps": 18}}
    events = train(make_trainer, make_config(**settings), tmp_path / "uninterrupted")
    moved = []
    for device, stop in (("cpu", 5), ("cuda", 11), ("cpu", None)):
        config = make_config(**settings, device=device)
        trainer = make_trainer(config, tmp_path / "moved")
        if trainer.directory.checkpoints.exists():
            trainer.resume()

        def poll(trainer=trainer, stop=stop):
            if trainer.counters.step == stop:
                trainer.request_stop()

        trainer.poll = poll
        moved += list(trainer.run())
    scores = [[e.nats for e in run if isinstance(e, Evaluated)] for run in (events, moved)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)
    assert isinstance(moved[-1], Ended)
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 18


def test_documents_are_prefetched(make_trainer, make_config, corpus_file, tmp_path):
    corpus = load_corpus(str(corpus_file), documents="newline")
    source = {"source": str(corpus_file), "documents": "newline"}
    scores = []
    for device in ("cpu", "cuda"):
        config = make_config({"direction": "bidirectional"}, source, device=device)
        trainer = make_trainer(config, tmp_path / device, corpus)
        assert isinstance(trainer.streams, PrefetchLoader) == (device == "cuda")
        events = list(trainer.run())
        scores.append([e.nats for e in events if isinstance(e, Evaluated)])
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)


def test_out_of_memory_message_names_sizes(make_trainer, make_config, tmp_path):
    config = make_config({"hidden_size": 2048, "num_layers": 4}, device="cuda", batch_size=70, sequence_length=20)
    trainer = make_trainer(config, tmp_path / "run")
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        trainer.step.gradients = lambda *_: torch.empty(1 << 42, dtype=torch.uint8, device="cuda")
        with pytest.raises(UserError, match=r"out of memory on cuda in step 1: .* more were requested, .* are free"):
            list(trainer.run())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
