"""Captures the launches of many small kernels in a CUDA graph, which one call replays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeAlias

import torch

WARM_UP = 2  # calls before the capture, which compile kernels and allocate workspaces

Pool: TypeAlias = Any  # torch has no public name for the type of its handle


class CudaGraph:
    """A function on static buffers, captured once; calling the object runs it again.

    On an NVIDIA GPU its launches become a CUDA graph, which is replayed on the current stream; elsewhere the function
    is simply called. Before the capture it runs ``warm_up`` times, so the caller must reset any state that it advances,
    or run it elsewhere before and pass 0. The function must not synchronize or draw random numbers on the CPU, and must
    read and write only tensors that exist at the same address in every call and were not created in inference mode. It
    runs without gradients, unless it enables them itself.

    Graphs with the same ``pool`` (:func:`memory_pool`) share memory, and must not leave results in it: each may
    overwrite what another has allocated.
    """

    def __init__(
        self, function: Callable[[], None], device: torch.device, warm_up: int = WARM_UP, pool: Pool | None = None
    ) -> None:
        self._run = function if device.type != "cuda" else _capture(function, device, warm_up, pool)

    def __call__(self) -> None:
        self._run()


def cause_of_failure(error: BaseException) -> BaseException:
    """The error for which a capture failed: the end of a failed capture raises another one."""
    while isinstance(error.__context__, Exception):
        error = error.__context__
    return error


def memory_pool(device: torch.device) -> Pool | None:
    """A pool of memory for several graphs; None on other devices than NVIDIA GPUs."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def _capture(function: Callable[[], None], device: torch.device, warm_up: int, pool: Pool | None) -> Callable[[], None]:
    graph, pool = torch.cuda.CUDAGraph(), pool or memory_pool(device)
    # A capture in inference mode would turn the random generator's state into an inference tensor, which later captures
    # cannot write.
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
        stream, current = _capture_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):  # also around the capture, which does not restore the stream if its end fails
            try:
                for _ in range(warm_up):
                    function()
            finally:
                current.wait_stream(stream)
            torch.cuda.synchronize(device)  # errors of earlier work are not those of the capture
            try:
                # Threads of autograd and the NCCL watchdog may make calls that a global capture would forbid.
                capture = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
                with _workspaces_of_graph(), capture:
                    function()
            except BaseException:
                _clean_up(graph, device, pool)
                raise

    def replay() -> None:
        graph.replay()

    return replay


@contextmanager
def _workspaces_of_graph() -> Iterator[None]:
    """Let cuBLAS allocate its workspaces in the memory of the graph that is captured in the block, which contains their
    addresses. Otherwise several graphs would contain the same ones, and torch would free them with one of the graphs
    (github.com/pytorch/pytorch/issues/193402)."""
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def _clean_up(graph: torch.cuda.CUDAGraph, device: torch.device, pool: Pool) -> None:
    """Let the device be used as before a failed capture."""
    _capture_stream.cache_clear()  # a capture may still be under way on that stream
    index = torch.cuda.current_device() if device.index is None else device.index
    try:
        graph.pool()
    except RuntimeError:  # the capture did not end, so that the graph will not release the pool
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
    if _version() < (2, 13):
        # The random generator would stay in the capture.
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())


def _version() -> tuple[int, ...]:
    """Of torch, such as (2, 13)."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream for the captures of a device: cuBLAS has a handle and a workspace for each that it is used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
