"""What a device is, when it is done, and how it multiplies."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from charlstm.benchmark import NO_MEMORY, described, environment, machine
from charlstm.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_machine_facts_name_no_place_and_no_host():
    facts = machine(CPU)
    assert {"cpu", "threads", "torch", "charlstm"} <= facts.keys()
    assert facts["threads"] == torch.get_num_threads()
    assert "/" not in json.dumps(facts)
    assert "gpu" not in facts
    assert described(facts).endswith(f"{facts['threads']} threads, torch {torch.__version__}")


def test_a_gpu_is_told_with_all_versions(monkeypatch, tmp_path):
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed 2025\nGCC version: 12.2.0\n")
    monkeypatch.setattr(environment, "DRIVER", driver)
    properties = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91501)
    monkeypatch.setattr(environment, "version", {"triton": "3.7.0"}.__getitem__)
    facts = machine(GPU)
    assert described(facts) == (
        f"NVIDIA H100 with 80 GiB, driver 570.86.15, cuda 13.0, cudnn 91501, triton 3.7.0, torch {torch.__version__}"
    )
    assert json.loads(json.dumps(facts)) == facts
    monkeypatch.setattr(environment, "DRIVER", tmp_path / "none")
    assert "driver" not in described(machine(GPU))


def test_each_device_has_its_own_wait(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    environment.waiting(GPU)()
    environment.waiting(CPU)()
    assert waited == [GPU]
    assert (environment.warm_up(CPU), environment.warm_up(GPU)) == (2, 3)
    assert (environment.before_turn(CPU), environment.before_turn(GPU)) == (0, 2)


def test_a_type_that_autocast_makes_instead_of_bfloat16_is_told(monkeypatch):
    assert environment.notes(CPU) == []
    monkeypatch.setattr(environment, "cannot_run", lambda *_: None)

    class Half(torch.nn.LSTM):
        def forward(self, x):
            y, state = super().forward(x)
            return y.half(), state

    monkeypatch.setattr(environment.nn, "LSTM", Half)
    (note,) = environment.notes(CPU)
    assert note == "under bfloat16 autocast torch.nn.LSTM computes in float16 here; vendor is cuDNN in bfloat16"


def test_a_full_device_is_a_refusal(monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "clear_plan_cache", lambda: calls.append("forgotten"))

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=NO_MEMORY):
        environment.fitting(full)
    environment.fitting(lambda: None)
    assert calls == ["forgotten"]
