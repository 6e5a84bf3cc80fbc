"""CUDA graph captures: error handling with fake streams, and results on a GPU."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

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
        self.fails, self.has_ended = "", False
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
    def graph(self, _, pool, stream, capture_error_mode):
        """Without ``finally``, as in torch: if the end of the capture fails, the stream is not restored."""
        assert (pool, capture_error_mode) == (POOL, "thread_local")
        before, self.current = self.current, stream
        if self.fails == "begin":
            raise RuntimeError("operation failed during capture")
        self.log.append("capture")
        try:
            yield
        finally:
            self.has_ended = self.fails != "end"
        if self.fails in ("end", "instantiation"):
            raise RuntimeError("operation failed due to a previous error during capture")
        self.current = before

    def clone_state(self) -> str:
        return "a state outside of a capture"

    def graphsafe_set_state(self, state) -> None:
        self.log.append(f"random numbers from {state}")

    def graph_pool_handle(self) -> tuple[int, int]:
        return POOL

    def free_workspaces(self) -> None:
        self.log.append(FREED)

    def pool(self) -> tuple[int, int]:
        if not self.has_ended:
            raise RuntimeError("no capture has ended")
        return POOL

    def end_allocation(self, index, pool) -> None:
        assert (index, pool) == (1, POOL)
        if "capture" not in self.log:
            raise RuntimeError("no allocation to the pool")
        self.log.append("allocation ended")

    def release(self, index, pool) -> None:
        assert (index, pool) == (1, POOL)
        self.log.append("pool released")

    def capture_stream(self, _) -> Stream:
        return self.side

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
    for name in ("current_stream", "device", "stream", "graph", "CUDAGraph", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, getattr(streams, name))
    monkeypatch.setattr(cuda_graph, "_capture_stream", cache(streams.capture_stream))
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", streams.free_workspaces, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", streams.end_allocation, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", streams.release, raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (None, streams))
    return streams


POOL = (0, 7)
FREED = "workspaces freed"
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
    assert cuda.log == [BEFORE, *["call"] * WARM_UP, AFTER, FREED, "capture", "call", FREED]
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
    assert (FREED in cuda.log) == ("capture" in cuda.log)
    assert "pool released" not in cuda.log  # the graph does it
    assert (cuda.current, cuda.devices) == (cuda.main, [0])


@pytest.mark.parametrize(
    ("fails", "released"),
    [("begin", []), ("end", ["allocation ended", "pool released"]), ("instantiation", [])],
)
def test_failed_capture_restores_stream_and_memory(cuda, monkeypatch, fails, released):
    """The pool is released once: by the graph if its capture ended, and not at all if none began."""
    monkeypatch.setattr(torch, "__version__", "2.13.0")  # older ones: below
    cuda.fails = fails
    cuda_graph._capture_stream(GPU)
    with pytest.raises(RuntimeError, match="during capture"):
        CudaGraph(lambda: None, GPU)
    assert cuda.log[cuda.log.index(FREED) + 1 :] == ["capture"] * (fails != "begin") + [FREED, *released]
    assert cuda_graph._capture_stream.cache_info().currsize == 0
    assert (cuda.current, cuda.devices) == (cuda.main, [0])


@pytest.mark.parametrize(("version", "is_put_back"), [("2.12.1+cu130", True), ("2.13.0", False), ("2.14.0a0", False)])
def test_random_generator_is_put_back_where_torch_does_not(cuda, monkeypatch, version, is_put_back):
    monkeypatch.setattr(torch, "__version__", version)
    cuda.fails = "end"
    with pytest.raises(RuntimeError, match="during capture"):
        CudaGraph(lambda: None, GPU)
    assert (cuda.log[-1] == RANDOM) == is_put_back


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


@needs_gpu
def test_graph_outlives_another_one():
    """If the product has a workspace, it belongs to its graph: torch 2.13 frees those of the stream with each graph."""
    a, b, y = (torch.ones(512, 512, device="cuda", dtype=torch.bfloat16) for _ in range(3))

    def multiply():
        torch.mm(a, b, out=y)

    first = CudaGraph(multiply, a.device)
    second = CudaGraph(multiply, a.device)
    del first
    torch.cuda.empty_cache()
    y.zero_()
    second()
    assert y.eq(512).all()
