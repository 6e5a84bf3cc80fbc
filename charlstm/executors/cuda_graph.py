"""Work of many small kernels, launched by one call: a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

WARM_UP = 2  # times that work is done before it is recorded, so that kernels are compiled and workspaces made


class CudaGraph:
    """Work on buffers that stay where they are, recorded once and done again by calling the object.

    On an NVIDIA GPU the launches become a CUDA graph, which is replayed on the current stream; elsewhere the work is
    simply called. Recording does the work a few times: whatever it moves on has to be set again afterwards. The work
    must wait for nothing, draw no random numbers, ask for no gradients, and read and write no tensor that is made anew
    for each call, nor one that was made in inference mode.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self._do = work if device.type != "cuda" else _capture(work, device)

    def __call__(self) -> None:
        self._do()


def _capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    # A capture in inference mode would make the state of the random generator a tensor that none after it may write.
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
        stream, outside = _capture_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(outside)
        with torch.cuda.stream(stream):  # around the capture too, which does not put the stream back if its end fails
            try:
                for _ in range(WARM_UP):
                    work()
            finally:
                outside.wait_stream(stream)
            # Autograd's threads, and NCCL's that watches over it, may go on with what a capture forbids.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                work()

    def replay() -> None:
        graph.replay()

    return replay


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings of a device: cuBLAS keeps a workspace for each stream that it was ever used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
