"""Executors on other machines: without bfloat16, without a compiler, without support in torch."""

from __future__ import annotations

import platform
import shutil

import pytest
import torch
from test_laws import make

from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors import choose, executors, vendor
from charlstm.executors.cpp import build

LSTM = CELLS["lstm"]
ON_X86 = platform.system() == "Linux" and platform.machine() == "x86_64" and "avx2" in build.processor()
COMPILERS = ("c++", "g++", "clang++")


@pytest.fixture(autouse=True)
def _clear_caches():
    """Do not reuse cached results between a simulated machine and this one."""
    build.kernels.cache_clear()
    vendor.training_error.cache_clear()
    yield
    build.kernels.cache_clear()
    vendor.training_error.cache_clear()


@pytest.fixture
def oldest_onednn(monkeypatch):
    """Simulates oneDNN on a CPU that has only AVX2: it has no LSTM in bfloat16."""
    run = torch.nn.LSTM.forward

    def forward(self, x, hx=None):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive\nx")
        return run(self, x, hx)

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)


@pytest.mark.skipif(not ON_X86, reason="cpp needs Linux on x86-64 with AVX2")
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
def test_cpp_kernels_exist_on_supported_machines():
    assert not isinstance(build.kernels(LSTM, torch.float32), str)
    if "avx512_bf16" in build.processor() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not isinstance(build.kernels(LSTM, torch.bfloat16), str)


def test_nothing_is_compiled_without_bfloat16_support(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("unnecessary compilation"))
    assert build.kernels(LSTM, torch.bfloat16) == build.NO_BFLOAT16


def test_auto_trains_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    weights, x, state = make(LSTM, (3, 2, 5, 4), dtype=torch.float32)
    choice = choose("auto", LSTM, weights, x)
    assert choice.executor.name == "vendor"
    if ON_X86:
        assert "no C++ compiler" in choice.others["cpp"]
    choice.executor.run(LSTM, weights, x, state)[0].sum().backward()
    assert weights.weight_hh.grad is not None
    with pytest.raises(UserError, match="executor cpp cannot run cell lstm here"):
        choose("cpp", LSTM, weights, x)


@pytest.mark.usefixtures("oldest_onednn")
def test_vendor_refuses_what_torch_cannot_run():
    weights, x, _ = make(LSTM, (3, 2, 5, 4), dtype=torch.float32)
    assert executors()["vendor"].refuses(LSTM, weights, x) is None
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(UserError, match=r"torch cannot run its LSTM in bfloat16 on this CPU \(could not create"):
            choose("vendor", LSTM, weights, x)
        gru, x, _ = make(CELLS["gru"], (3, 2, 5, 4), dtype=torch.float32)
        assert choose("vendor", CELLS["gru"], gru, x).executor.name == "vendor"


def test_vendor_check_changes_neither_rng_state_nor_modes():
    state = torch.get_rng_state()
    with torch.inference_mode():
        assert vendor.training_error(LSTM, "cpu", torch.float32, torch.float32) is None
    assert torch.equal(torch.get_rng_state(), state)


def test_vendor_check_runs_once_per_cell(monkeypatch):
    layers = []
    init = torch.nn.GRU.__init__
    monkeypatch.setattr(torch.nn.GRU, "__init__", lambda self, *a, **k: layers.append(1) or init(self, *a, **k))
    for _ in range(3):
        vendor.training_error(CELLS["gru"], "cpu", torch.float32, torch.float32)
    assert len(layers) == 1
