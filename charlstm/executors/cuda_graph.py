"""Captures the launches of many small kernels in a CUDA graph, which one call replays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

WARM_UP = 2  # calls before the capture, which compile kernels and allocate workspaces


class CudaGraph:
    """A function on static buffers, captured once; calling the object runs it again.

    On an NVIDIA GPU its launches become a CUDA graph, which is replayed on the current stream; elsewhere the function
    is simply called. The capture runs it a few times, so the caller must reset any state that it advances. The function
    must not synchronize, draw random numbers or need gradients, and must read and write only tensors that exist at
    the same address in every call and were not created in inference mode.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._run = function if device.type != "cuda" else _capture(function, device)

    def __call__(self) -> None:
        self._run()


def _capture(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    # A capture in inference mode would turn the random generator's state into an inference tensor, which later captures
    # cannot write.
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
        stream, current = _capture_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):  # also around the capture, which does not restore the stream if its end fails
            try:
                for _ in range(WARM_UP):
                    function()
            finally:
                current.wait_stream(stream)
            # Threads of autograd and the NCCL watchdog may make calls that a global capture would forbid.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                function()

    def replay() -> None:
        graph.replay()

    return replay


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream for all captures of a device: cuBLAS allocates a workspace for each stream that it is used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
