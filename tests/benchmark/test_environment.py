"""Description, synchronization and warm-up of devices."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from charlstm.benchmark import NO_MEMORY, describe_machine, environment, machine_facts
from charlstm.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_machine_facts_contain_no_path():
    facts = machine_facts(CPU)
    assert {"cpu", "threads", "torch", "charlstm"} <= facts.keys()
    assert facts["threads"] == torch.get_num_threads()
    assert "/" not in json.dumps(facts)
    assert "gpu" not in facts
    for threads, words in ((1, "1 thread"), (2, "2 threads")):
        assert describe_machine({**facts, "threads": threads}).endswith(f", {words}, torch {torch.__version__}")


def test_gpu_is_described_with_all_versions(monkeypatch, tmp_path):
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed 2025\nGCC version: 12.2.0\n")
    monkeypatch.setattr(environment, "DRIVER", driver)
    properties = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91501)
    monkeypatch.setattr(environment, "version", {"triton": "3.7.0"}.__getitem__)
    facts = machine_facts(GPU)
    assert describe_machine(facts) == (
        f"NVIDIA H100 with 80 GiB, driver 570.86.15, cuda 13.0, cudnn 91501, triton 3.7.0, torch {torch.__version__}"
    )
    assert json.loads(json.dumps(facts)) == facts
    monkeypatch.setattr(environment, "DRIVER", tmp_path / "none")
    assert "driver" not in describe_machine(machine_facts(GPU))


def test_devices_have_their_synchronizer(monkeypatch):
    synchronized = []
    monkeypatch.setattr(torch.cuda, "synchronize", synchronized.append)
    environment.synchronizer(GPU)()
    environment.synchronizer(CPU)()
    assert synchronized == [GPU]
    assert (environment.warm_up_runs(CPU), environment.warm_up_runs(GPU)) == (2, 3)
    assert (environment.untimed_runs(CPU), environment.untimed_runs(GPU)) == (0, 2)


def test_note_on_autocast_dtype_other_than_bfloat16(monkeypatch):
    assert environment.notes(CPU) == []
    monkeypatch.setattr(environment, "training_error", lambda *_: None)

    class Half(torch.nn.LSTM):
        def forward(self, x):
            y, state = super().forward(x)
            return y.half(), state

    monkeypatch.setattr(environment.nn, "LSTM", Half)
    (note,) = environment.notes(CPU)
    assert note == "under bfloat16 autocast torch.nn.LSTM computes in float16 here; vendor is cuDNN in bfloat16"


def test_out_of_memory_is_a_user_error(monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "clear_plan_cache", lambda: calls.append("cleared"))

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=NO_MEMORY):
        environment.refuse_out_of_memory(full)
    environment.refuse_out_of_memory(lambda: None)
    assert calls == ["cleared"]
