"""The same promises on machines unlike this one: without bfloat16, without a compiler, without torch's own layer."""

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
def _measured_again():
    """Nothing that was found out about a feigned machine is believed of this one."""
    build.kernels.cache_clear()
    vendor.cannot_run.cache_clear()
    yield
    build.kernels.cache_clear()
    vendor.cannot_run.cache_clear()


@pytest.fixture
def oldest_onednn(monkeypatch):
    """As oneDNN behaves on a CPU with AVX2 alone: it has no LSTM in bfloat16."""
    run = torch.nn.LSTM.forward

    def forward(self, x, hx=None):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive\nx")
        return run(self, x, hx)

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)


@pytest.mark.skipif(not ON_X86, reason="native is for Linux on x86-64 with AVX2")
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no compiler")
def test_native_kernels_are_there_where_they_can_be():
    assert not isinstance(build.kernels(LSTM, torch.float32), str)
    if "avx512_bf16" in build.processor() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not isinstance(build.kernels(LSTM, torch.bfloat16), str)


def test_no_kernel_is_compiled_for_products_that_torch_lacks(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled in vain"))
    assert build.kernels(LSTM, torch.bfloat16) == build.NO_BFLOAT16


def test_without_a_compiler_auto_says_why_and_trains(monkeypatch, tmp_path):
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
def test_library_refuses_what_torch_cannot_run():
    weights, x, _ = make(LSTM, (3, 2, 5, 4), dtype=torch.float32)
    assert executors()["vendor"].refuses(LSTM, weights, x) is None
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(UserError, match=r"torch cannot run its LSTM in bfloat16 on this CPU \(could not create"):
            choose("vendor", LSTM, weights, x)
        gru, x, _ = make(CELLS["gru"], (3, 2, 5, 4), dtype=torch.float32)
        assert choose("vendor", CELLS["gru"], gru, x).executor.name == "vendor"


def test_the_trial_leaves_random_state_and_modes_alone():
    state = torch.get_rng_state()
    with torch.inference_mode():
        assert vendor.cannot_run(LSTM, "cpu", torch.float32, torch.float32) is None
    assert torch.equal(torch.get_rng_state(), state)


def test_the_trial_is_made_once(monkeypatch):
    trials = []
    made = torch.nn.GRU.__init__
    monkeypatch.setattr(torch.nn.GRU, "__init__", lambda self, *a, **k: trials.append(1) or made(self, *a, **k))
    for _ in range(3):
        vendor.cannot_run(CELLS["gru"], "cpu", torch.float32, torch.float32)
    assert len(trials) == 1
