"""Recordings: what they leave behind where something fails, on stand-ins for CUDA's streams; on a GPU, what they do."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from test_laws import make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.executors import clear_plan_cache, cuda_graph, executors
from charlstm.executors.cuda_graph import WARM_UP, CudaGraph
from charlstm.executors.precision import float32_products

GPU = torch.device("cuda", 1)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Streams:
    """What torch.cuda has for recordings, as torch's own sources have it, on no device at all."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails = ""
        self.devices = [0]
        self.outside, self.side = Stream("outside", self.log), Stream("side", self.log)
        self.now = self.outside

    def current_stream(self, device):
        assert device == GPU
        return self.now

    @contextmanager
    def device(self, device):
        self.devices.append(device.index)
        try:
            yield
        finally:
            self.devices.pop()

    @contextmanager
    def stream(self, stream):
        before, self.now = self.now, stream
        try:
            yield
        finally:
            self.now = before

    @contextmanager
    def graph(self, _, stream, capture_error_mode):
        """Without ``finally``, as torch has it: where the end of the capture fails, the stream stays."""
        assert capture_error_mode == "thread_local"
        before, self.now = self.now, stream
        self.log.append("capture")
        yield
        if self.fails == "end":
            raise RuntimeError("operation failed due to a previous error during capture")
        self.now = before

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
    return streams


BEFORE, AFTER = "side waits for outside", "outside waits for side"


def test_work_is_done_on_a_stream_of_its_own_and_on_its_device(cuda):
    def work():
        assert (cuda.now, cuda.devices) == (cuda.side, [0, 1])
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
        cuda.log.append("work")

    with torch.inference_mode():
        recorded = CudaGraph(work, GPU)
    assert cuda.log == [BEFORE, *["work"] * WARM_UP, AFTER, "capture", "work"]
    assert (cuda.now, cuda.devices) == (cuda.outside, [0])
    cuda.log.clear()
    recorded()
    assert cuda.log == ["replay"]


@pytest.mark.parametrize("runs", [1, WARM_UP + 1], ids=["warming up", "in the capture"])
def test_work_that_fails_leaves_the_streams_as_they_were(cuda, runs):
    def work():
        cuda.log.append("work")
        if cuda.log.count("work") == runs:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        CudaGraph(work, GPU)
    assert AFTER in cuda.log
    assert (cuda.now, cuda.devices) == (cuda.outside, [0])


def test_a_capture_that_cannot_be_ended_leaves_the_streams_as_they_were(cuda):
    cuda.fails = "end"
    with pytest.raises(RuntimeError, match="during capture"):
        CudaGraph(lambda: None, GPU)
    assert (cuda.now, cuda.devices) == (cuda.outside, [0])


def test_elsewhere_the_work_is_simply_called(cuda):
    calls = []
    recorded = CudaGraph(lambda: calls.append(torch.is_grad_enabled()), torch.device("cpu"))
    assert calls == []
    recorded()
    assert (calls, cuda.log) == ([True], [])


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_recorded_and_launched_one_by_one_are_equal_bit_by_bit(name, dtype):
    """Products of the size of real layers, for which cuBLAS might take another way when it is recorded."""
    cell, triton = CELLS[name], executors()["triton"]
    weights, x, state = make(cell, (8, 64, 512, 65), ids=True, dtype=torch.float32, device="cuda")
    clear_plan_cache()
    with float32_products(x.device, rounded=True), torch.autocast("cuda", torch.bfloat16, dtype == torch.bfloat16):
        launched, *recorded = (outputs_and_gradients(triton, cell, weights, x, state) for _ in range(3))
    for found in recorded:
        assert all(map(torch.equal, launched, found))


@needs_gpu
def test_recordings_made_in_inference_mode_and_outside_of_it_follow_each_other():
    """The first capture in inference mode would make the generator's state an inference tensor: pytorch#166792."""
    x, y = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")
    with torch.inference_mode():
        first = CudaGraph(lambda: y.add_(x), x.device)
    second = CudaGraph(lambda: y.mul_(2), x.device)
    y.zero_()
    first()
    second()
    assert y.tolist() == [2.0] * 4
