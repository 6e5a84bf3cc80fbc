"""What a machine has and lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from charlstm.benchmark import checkup
from charlstm.benchmark.checkup import checks
from charlstm.errors import UserError


def results(runs: Path = Path("runs")) -> dict[str, checkup.Check]:
    return {check.name: check for check in checks(runs)}


def test_healthy_machine_needs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkup, "kernels", lambda *_: object())
    monkeypatch.setattr(checkup, "free_main_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(checkup, "find_spec", lambda _: object())
    found = results(tmp_path / "runs")
    assert [check.remedy for check in found.values() if check.name not in ("device", "output")] == [""] * (
        len(found) - 2
    )
    assert torch.__version__ in found["charlstm"].result
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"kernels": lambda *_: "no C++ compiler: g++"}, "C++ compiler", ["no C++ compiler", "install g++"]),
        ({"kernels": lambda *_: "$CXX is not"}, "C++ compiler", ["correct or unset $CXX"]),
        ({"free_main_memory": lambda: 10**8}, "memory", ["free", "close other programs"]),
        ({"free_main_memory": lambda: None}, "memory", ["does not report"]),
        ({"find_spec": lambda _: None}, "extra onnx", ["not installed", "pip install 'charlstm[onnx]'"]),
    ],
)
def test_what_is_missing_has_a_remedy(monkeypatch, change, name, words):
    for attribute, value in {"kernels": lambda *_: object(), **change}.items():
        monkeypatch.setattr(checkup, attribute, value)
    check = results()[name]
    assert all(word in f"{check.result} {check.remedy}" for word in words)


def test_folder_that_cannot_be_written_has_a_remedy(monkeypatch, tmp_path):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkup, "kernels", lambda *_: object())
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    check = results(tmp_path)["runs"]
    assert (check.result, check.remedy) == (
        f"{tmp_path}: Permission denied",
        "give a folder that is writable: --runs FOLDER",
    )


def test_gpu_that_does_not_answer_is_one_line(monkeypatch):
    def fail(name):
        raise UserError("CUDA cannot be used: the driver is too old")

    monkeypatch.setattr(checkup, "resolve_device", fail)
    assert checkup._device().result == "CUDA cannot be used: the driver is too old"


@pytest.fixture
def on_gpu(monkeypatch):
    """The checks of a GPU on which kernels have this launch error, and that the executor refuses for this reason."""

    def find(launch_error, refusal=None):
        for attribute, value in {
            "kernels": lambda *_: object(),
            "resolve_device": lambda _: torch.device("cuda"),
            "resolve_precision": lambda *_: "bfloat16",
            "_device": lambda: checkup.Check("device", "a GPU"),
            "find_spec": lambda _: object(),
            "device_refusal": lambda *_: refusal,
            "launch_error": launch_error,
        }.items():
            monkeypatch.setattr(checkup, attribute, value)
        return results()

    return find


@pytest.mark.parametrize("error", [None, "Triton fails here: Failed to find C compiler"])
def test_kernels_that_cannot_be_launched_have_a_remedy(on_gpu, error):
    check = on_gpu(lambda _: error)["Triton"]
    assert check.result == (error or "works")
    assert ("gcc" in check.remedy) == bool(error)


def test_kernels_are_not_tried_on_a_gpu_that_they_are_not_made_for(on_gpu):
    assert "Triton" not in on_gpu(pytest.fail, "it runs on NVIDIA GPUs")


def test_gpu_that_is_full_is_one_line(on_gpu):
    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 MiB")

    assert on_gpu(fail)["Triton"] == checkup.Check(
        "Triton", "CUDA out of memory.", "close other programs that use the GPU"
    )
