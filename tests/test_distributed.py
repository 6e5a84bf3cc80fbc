"""Distributed training: several processes give the results of one, up to rounding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from charlstm.checkpoints.format import load_checkpoint
from charlstm.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    ProcessLostError,
    SynchronizedError,
    detect_lost_processes,
)
from charlstm.errors import UserError
from charlstm.hardware.device import resolve_device
from charlstm.runs.directory import RunDirectory
from charlstm.runs.read_only import ReadOnlyRunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training.stop_control import StopControl

SCRIPT = Path(__file__).parent / "distributed_work.py"
DOCUMENTS = {"documents": "\n", "validation_fraction": 0.2}
TWO = ProcessGroup(1, 2, 1, 2)

# name: model, corpus, training
CASES = {
    "locked": ({"executor": "vendor", "num_layers": 2, "dropout": 0.3}, {}, {}),
    "elementwise": (
        {"cell": "gru", "executor": "vendor", "num_layers": 2, "dropout": 0.3, "dropout_kind": "elementwise"},
        {},
        {},
    ),
    "documents": ({"executor": "vendor", "dropout": 0.2}, DOCUMENTS, {"sequence_length": 9, "budget": {"epochs": 1}}),
    "blocks": (
        {"cell": "gru", "executor": "vendor"},
        {"validation": "blocks", "validation_fraction": 0.4},
        {"sequence_length": 9, "budget": {"epochs": 1}},
    ),
    "both_sides": (
        {"executor": "vendor", "direction": "bidirectional", "front_end": "embedding", "embedding_size": 3},
        DOCUMENTS,
        {"input_masking": 0.2},
    ),
    "regularized": (
        {
            "num_layers": 2,
            "executor": "eager",
            "front_end": "embedding",
            "tie_weights": True,
            "embedding_dropout": 0.3,
            "weight_drop": 0.4,
            "state_dropout": 0.3,
            "zoneout_c": 0.2,
        },
        DOCUMENTS,
        {"reset_state": 0.3, "activation_regularization": 20.0, "temporal_activation_regularization": 10.0},
    ),
    "sampled": (
        {"cell": "gru", "executor": "vendor"},
        {"validation_fraction": 0.8},
        {"evaluation_characters": 1000, "batch_size": 2},
    ),
    "window": ({"cell": "peephole", "front_end": "convolution", "executor": "eager"}, {}, {"optimizer": "sgd"}),
    "frozen": ({"cell": "esn", "executor": "eager"}, {}, {"sequence_length": 3}),
    "penalty": (
        {"cell": "rnn", "executor": "reference"},
        {},
        {"vanishing_penalty": 8.0, "schedule": "plateau", "patience": 0},
    ),
    "accumulated": (
        {"cell": "rnn", "executor": "reference", "dropout": 0.2},
        {},
        {
            "gradient_accumulation": 3,
            "vanishing_penalty": 8.0,
            "averaging_decay": 0.5,
            "label_smoothing": 0.1,
            "sequence_length_std": 2,
        },
    ),
}
STOPPED = {"stopped": [4, 6, 13], "left": [-8]}  # of the first case; a run with a negative stop is not resumed


def train_cases(folder: Path, cases: dict[str, object], processes: int) -> None:
    """Train every case with this many processes, in the folder of its name."""
    (folder / "cases.json").write_text(json.dumps(cases))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    result = subprocess.run(
        [*launch, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def runs(make_config, tmp_path_factory):
    """The runs of all cases, trained by two processes."""
    folder = tmp_path_factory.mktemp("group")
    cases = {}
    for name, (model, corpus, training) in CASES.items():
        config = make_config(model, corpus, **{"budget": {"steps": 16}, **training})
        cases[name] = (config.model_dump(mode="json", exclude_unset=True), [])
    cases |= {name: (cases["locked"][0], stops) for name, stops in STOPPED.items()}
    train_cases(folder, cases, 2)
    return folder


@pytest.fixture
def config_of(make_config):
    def make(name):
        model, corpus, training = CASES[name]
        return make_config(model, corpus, **{"budget": {"steps": 16}, **training})

    return make


def assert_close(distributed: Path, single: Path) -> None:
    """The same metrics, weights and carried states up to rounding."""
    fields = ("nats", "gradient_norm", "characters", "learning_rate", "epoch", "characters_scored", "stop_reason")
    records = [RunDirectory(path).metrics() for path in (distributed, single)]
    assert [r["kind"] for r in records[0]] == [r["kind"] for r in records[1]]
    for record, other in zip(*records, strict=True):
        for field in fields:
            expected = other.get(field)
            approximate = pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected
            assert record.get(field) == approximate, (record["step"], field)
    loaded = [load_checkpoint(path / "checkpoints" / "last.safetensors") for path in (distributed, single)]
    (tensors, header), (expected_tensors, _) = loaded
    assert header["processes"] == 2
    assert tensors.keys() == expected_tensors.keys()
    for name, t in tensors.items():
        torch.testing.assert_close(t, expected_tensors[name], rtol=1e-3, atol=1e-5, msg=name)
    assert torch.equal(tensors["random.cpu"], expected_tensors["random.cpu"])


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(runs, config_of, make_trainer, tmp_path, name):
    config = config_of(name)
    trainer = make_trainer(config, tmp_path / "one", load_corpus(**config.corpus.model_dump()))
    list(trainer.run())
    assert trainer.counters.step >= 12
    assert_close(runs / name, tmp_path / "one")


def test_resumed_run_equals_uninterrupted_run(runs):
    for name in ("last", "best"):
        (resumed, header), (expected, expected_header) = (
            load_checkpoint(runs / run / "checkpoints" / f"{name}.safetensors") for run in ("stopped", "locked")
        )
        assert header["counters"]["step"] == expected_header["counters"]["step"]
        assert resumed.keys() == expected.keys()
        assert all(torch.equal(t, expected[key]) for key, t in resumed.items())
    assert (runs / "stopped" / "samples.txt").read_text() == (runs / "locked" / "samples.txt").read_text()
    messages = [json.loads((runs / f"results-{rank}.json").read_text())["messages"]["stopped"] for rank in (0, 1)]
    assert messages == [[], []]  # no differences


@pytest.mark.slow
def test_resume_preserves_the_order_of_summation(make_config, tmp_path):
    """With three processes, the order in which gradients are summed depends on the layout of torch's buckets."""
    model = {"hidden_size": 96, "num_layers": 3, "executor": "vendor"}
    config = make_config(model, batch_size=6, budget={"steps": 16}).model_dump(mode="json", exclude_unset=True)
    train_cases(tmp_path, {"uninterrupted": (config, []), "stopped": (config, [4, 9])}, 3)
    uninterrupted, stopped = (
        load_checkpoint(tmp_path / run / "checkpoints" / "last.safetensors")[0] for run in ("uninterrupted", "stopped")
    )
    assert all(torch.equal(t, stopped[name]) for name, t in uninterrupted.items())


def test_one_process_resumes_a_run_of_two(runs, config_of, make_trainer, corpus, tmp_path):
    trainer = make_trainer(config_of("locked"), runs / "left")
    assert trainer.resume() == ["processes was 2, is 1: results will differ in rounding"]
    assert trainer.counters.step == 9  # requests are synchronized one step later
    list(trainer.run())
    ends = [RunDirectory(runs / name).metrics()[-2] for name in ("left", "locked")]
    assert [end["kind"] for end in ends] == ["evaluation"] * 2
    assert ends[0]["nats"] == pytest.approx(ends[1]["nats"], rel=1e-5)


def test_collective_operations(runs):
    first, second = (json.loads((runs / f"results-{rank}.json").read_text())["collectives"] for rank in (0, 1))
    for results in (first, second):
        assert results["max"] == [1, 0, 0.5]
        assert results["sum"] == [2, 1]
        assert results["broadcast"] == ["é\ud800", 0.1, float("inf"), None, 0]
    assert first["gather"] == [[[[0], [0], [1], [1]]]]
    assert first["errors"] == [None, "SynchronizedError of 0", "SynchronizedError ", "SynchronizedError of 0"]
    assert second["errors"] == [None, "SynchronizedError ", "SynchronizedError of 1", "SynchronizedError "]
    assert (first["not equal"], second["not equal"]) == ("", "differs")


def test_group_from_environment(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ProcessGroup.from_environment() is SINGLE_PROCESS
    values = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert ProcessGroup.from_environment() == ProcessGroup(3, 4, 1, 2)
    for name, value in (("RANK", "4"), ("RANK", "x"), ("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "5")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UserError, match="torchrun"):
                ProcessGroup.from_environment()
    monkeypatch.delenv("RANK")
    with pytest.raises(UserError, match="torchrun"):
        ProcessGroup.from_environment()


def test_indivisible_batch_is_refused():
    three = ProcessGroup(0, 3, 0, 3)
    three.check(6, 6)
    assert [ProcessGroup(rank, 3).columns(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    for batch_size, requested, message in (
        (4, 4, r"training.batch_size 4 .* 3 processes. Set training.batch_size to 3 or 6,"),
        (2, 2, r"Set training.batch_size to 3,"),
        (7, 9, r"batch of 7 .*short.* Set training.batch_size to 6,"),
        (1, 9, r"batch of 1 .*short.* processes. Start another number"),
    ):
        with pytest.raises(UserError, match=message):
            three.check(batch_size, requested)


def test_each_process_gets_the_gpu_of_its_local_rank(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto", TWO) == resolve_device("cpu", TWO) == torch.device("cpu")
    with pytest.raises(UserError, match=r"0 GPUs. Use device: auto or cpu"):
        resolve_device("cuda", TWO)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert resolve_device("auto", TWO) == resolve_device("cuda", TWO) == torch.device("cuda", 1)
    assert resolve_device("cuda:0", ProcessGroup(1, 2, 0, 1)) == torch.device("cuda", 0)  # one on each of two machines
    with pytest.raises(UserError, match="cuda:1 is one GPU for 2 processes"):
        resolve_device("cuda:1", TWO)
    with pytest.raises(
        UserError, match=r"device cuda:2 is not available: 3 processes on this machine, 2 GPUs.*--nproc-per-node=2"
    ):
        resolve_device("auto", ProcessGroup(2, 3, 2, 3))
    with pytest.raises(UserError, match="mps"):
        resolve_device("mps", TWO)


class Other(ProcessGroup):
    """A group whose other process has trained for 9 seconds and got a stop request."""

    def all_reduce_max(self, *numbers):
        return tuple(max(pair) for pair in zip(numbers, (9.0, True, False), strict=True))


def test_requests_take_effect_after_sync():
    single, distributed = StopControl(SINGLE_PROCESS), StopControl(Other(0, 2, 0, 2))
    single.stop_requested = single.save_requested = distributed.save_requested = True
    assert (single.should_stop, single.should_save, single.sync(3.0)) == (True, True, 3.0)
    assert (distributed.should_stop, distributed.should_save) == (False, False)
    assert distributed.sync(3.0) == 9
    assert (distributed.should_stop, distributed.should_save) == (True, True)
    distributed.clear_save_request()
    assert (distributed.should_stop, distributed.should_save) == (True, False)
    single.clear_save_request()
    assert not single.should_save


def test_read_only_run_directory_writes_nothing(tiny_run, tmp_path, make_config):
    new = ReadOnlyRunDirectory(tmp_path / "new")
    with new.writing():
        new.create(make_config())
        new.write_config(make_config())
        new.append_metrics({"kind": "start"})
        new.append_sample(1, "text")
        new.checkpoints.save({}, {}, best=True)
        new.truncate_logs(new.flush())
    assert not new.path.exists()
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    existing = ReadOnlyRunDirectory(tiny_run)
    existing.truncate_logs({"metrics": 0, "samples": 0})
    existing.checkpoints.quarantine(existing.checkpoints.newest())
    assert existing.metrics() == RunDirectory(tiny_run).metrics()
    assert before == {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}


def test_lost_connections_are_recognized():
    for message, kind in (
        ("[../gloo/transport/tcp/pair.cc:553] Connection closed", ProcessLostError),
        ("gl", RuntimeError),
    ):
        with pytest.raises((ProcessLostError, RuntimeError)) as raised, detect_lost_processes():
            raise RuntimeError(message)
        assert type(raised.value) is kind
    for kind in (torch.distributed.DistNetworkError, torch.distributed.DistStoreError):
        with pytest.raises(ProcessLostError, match=r"--resume \(refused\)"), detect_lost_processes():
            raise kind("refused")


def test_nccl_reason_is_reported_and_out_of_memory_passes():
    message = (
        "NCCL error in: NCCLUtils.cpp:77, unhandled system error\nncclSystemError\nLast error:\nno room in /dev/shm"
    )
    with (
        pytest.raises(ProcessLostError, match=r"\(NCCL error in: .*, unhandled system error: no room in /dev/shm\)$"),
        detect_lost_processes(),
    ):
        raise torch.distributed.DistBackendError(message)
    with pytest.raises(torch.distributed.DistBackendError, match="memory"), detect_lost_processes():
        raise torch.distributed.DistBackendError("NCCL error: Cuda failure 2 'out of memory'")


def test_error_of_an_inner_block_is_not_lost(monkeypatch):
    """As if another process had failed before the inner block, so that its messages are one behind."""
    maxima = iter([2.0, 0.0])
    monkeypatch.setattr(ProcessGroup, "all_reduce_max", lambda *_: (next(maxima),))
    with pytest.raises(SynchronizedError), TWO.sync_errors(), TWO.sync_errors():
        pass
