"""CUDA graph captures: error handling with fake streams, and results on a GPU."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from test_laws import make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.executors import clear_plan_cache, cuda_graph, executors
from charlstm.executors.cuda_graph import WARM_UP, CudaGraph
from charlstm.executors.precision import float32_matmul_precision

GPU = torch.device("cuda", 1)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Streams:
    """A fake of the stream and graph functions of torch.cuda, with the behavior of torch's sources."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails = ""
        self.devices = [0]
        self.main, self.side = Stream("main", self.log), Stream("side", self.log)
        self.current = self.main

    def current_stream(self, device):
        assert device == GPU
        return self.current

    @contextmanager
    def device(self, device):
        self.devices.append(device.index)
        try:
            yield
        finally:
            self.devices.pop()

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, _, pool, stream, capture_error_mode):  # noqa: ARG002
        """Without ``finally``, as in torch: if the end of the capture fails, the stream is not restored."""
        assert capture_error_mode == "thread_local"
        before, self.current = self.current, stream
        self.log.append("capture")
        yield
        if self.fails == "end":
            raise RuntimeError("operation failed due to a previous error during capture")
        self.current = before

    def clone_state(self) -> str:
        return "a state outside of a capture"

    def graphsafe_set_state(self, state) -> None:
        self.log.append(f"random numbers from {state}")

    def CUDAGraph(self):  # noqa: N802
        return self

    def replay(self) -> None:
        self.log.append("replay")


class Stream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def wait_stream(self, other: Stream) -> None:
        self._log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def cuda(monkeypatch) -> Streams:
    streams = Streams()
    for name in ("current_stream", "device", "stream", "graph", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, getattr(streams, name))
    monkeypatch.setattr(cuda_graph, "_capture_stream", lambda _: streams.side)
    monkeypatch.setattr(torch.cuda, "default_generators", (None, streams))
    return streams


RANDOM = "random numbers from a state outside of a capture"
BEFORE, AFTER = "side waits for main", "main waits for side"


def test_capture_runs_on_a_side_stream_of_the_device(cuda):
    def function():
        assert (cuda.current, cuda.devices) == (cuda.side, [0, 1])
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
        cuda.log.append("call")

    with torch.inference_mode():
        replayed = CudaGraph(function, GPU)
    assert cuda.log == [BEFORE, *["call"] * WARM_UP, AFTER, "capture", "call"]
    assert (cuda.current, cuda.devices) == (cuda.main, [0])
    cuda.log.clear()
    replayed()
    assert cuda.log == ["replay"]


@pytest.mark.parametrize("runs", [1, WARM_UP + 1], ids=["warming up", "in the capture"])
def test_failing_function_restores_the_stream(cuda, runs):
    def function():
        cuda.log.append("call")
        if cuda.log.count("call") == runs:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        CudaGraph(function, GPU)
    assert AFTER in cuda.log
    assert (RANDOM in cuda.log) == ("capture" in cuda.log)
    assert (cuda.current, cuda.devices) == (cuda.main, [0])


def test_failing_end_of_capture_restores_the_stream(cuda):
    cuda.fails = "end"
    with pytest.raises(RuntimeError, match="during capture"):
        CudaGraph(lambda: None, GPU)
    assert cuda.log[-1] == RANDOM
    assert (cuda.current, cuda.devices) == (cuda.main, [0])


def test_function_is_simply_called_on_other_devices(cuda):
    calls = []
    replayed = CudaGraph(lambda: calls.append(torch.is_grad_enabled()), torch.device("cpu"))
    assert calls == []
    replayed()
    assert (calls, cuda.log) == ([True], [])


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_replayed_and_launched_results_are_bit_identical(name, dtype):
    """With realistic sizes, for which cuBLAS might choose another algorithm under capture."""
    cell, triton = CELLS[name], executors()["triton"]
    weights, x, state = make(cell, (8, 64, 512, 65), ids=True, dtype=torch.float32, device="cuda")
    clear_plan_cache()
    with float32_matmul_precision(x.device, tf32=True), torch.autocast("cuda", torch.bfloat16, dtype == torch.bfloat16):
        launched, *replayed = (outputs_and_gradients(triton, cell, weights, x, state) for _ in range(3))
    for actual in replayed:
        assert all(map(torch.equal, launched, actual))


@needs_gpu
def test_captures_inside_and_outside_inference_mode():
    """A first capture in inference mode would turn the generator's state into an inference tensor: pytorch#166792."""
    x, y = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")
    with torch.inference_mode():
        first = CudaGraph(lambda: y.add_(x), x.device)
    second = CudaGraph(lambda: y.mul_(2), x.device)
    y.zero_()
    first()
    second()
    assert y.tolist() == [2.0] * 4
