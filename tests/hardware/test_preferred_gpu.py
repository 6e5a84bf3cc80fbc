from __future__ import annotations

import pytest
import torch

from charlstm.hardware import device
from charlstm.hardware.device import prefer_gpu, resolve_device


@pytest.fixture
def used(monkeypatch):
    """The GPUs of three that were made the current one."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(device, "_preferred_gpu", None)
    return chosen


def test_processes_get_gpus_in_turn(used):
    for number in range(5):
        prefer_gpu(number)
        assert resolve_device("auto" if number % 2 else "cuda") == torch.device("cuda")
    assert used == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("name", ["cpu", "cuda:2"])
def test_other_devices_are_left_as_they_are(used, name):
    prefer_gpu(1)
    assert resolve_device(name) == torch.device(name)
    assert not used


def test_a_process_without_preference_changes_nothing(used):
    assert resolve_device("cuda") == torch.device("cuda")
    assert not used


def test_a_single_gpu_is_left_as_it_is(used, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    prefer_gpu(1)
    resolve_device("auto")
    assert not used
