"""Captures the launches of many small kernels in a CUDA graph, which one call replays."""

from __future__ import annotations

from collections.abc import Callable
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
    graph = torch.cuda.CUDAGraph()
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
            try:
                # Threads of autograd and the NCCL watchdog may make calls that a global capture would forbid.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    function()
            except BaseException:
                _end_capture_of_random_numbers(device)
                raise

    def replay() -> None:
        graph.replay()

    return replay


def _end_capture_of_random_numbers(device: torch.device) -> None:
    """Let the device's random generator be used again: before torch 2.13 a failed capture leaves it in the capture."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    generator.graphsafe_set_state(generator.clone_state())


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream for all captures of a device: cuBLAS allocates a workspace for each stream that it is used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
