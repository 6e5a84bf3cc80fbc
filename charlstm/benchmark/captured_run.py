"""A candidate that replays a CUDA graph of its run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from charlstm.errors import UserError
from charlstm.executors import clear_plan_cache
from charlstm.executors.cuda_graph import CudaGraph, cause_of_failure

LAUNCHED = 2
"""Runs that are launched before the first capture: they compile kernels and create the optimizer's state."""


class CapturedRun:
    """A run that the first call captures in a CUDA graph, which the next calls replay.

    :meth:`free` frees the graph: the next call captures a new one. Elsewhere than on an NVIDIA GPU, ``run`` is called.
    Raises UserError if the run cannot be captured.
    """

    def __init__(self, run: Callable[[], None], device: torch.device) -> None:
        self._run, self._device = run, device
        self._graph: CudaGraph | None = None
        self._was_launched = False

    def __call__(self) -> None:
        if self._graph is None:
            self._graph = self._captured()
        self._graph()

    def free(self) -> None:
        """Free the graph, with the memory that it holds."""
        self._graph = None

    def _captured(self) -> CudaGraph:
        if not self._was_launched:
            for _ in range(LAUNCHED):
                self._run()
            self._was_launched = True
        clear_plan_cache()  # the graph gets buffers of its own
        try:
            return CudaGraph(self._with_gradients, self._device, warm_up=0)
        except Exception as error:
            cause = cause_of_failure(error)
            if isinstance(cause, UserError | torch.OutOfMemoryError):
                raise cause from None
            why = str(cause).partition("\n")[0]
        raise UserError(f"its training step cannot be captured in a CUDA graph: {why}")

    def _with_gradients(self) -> None:
        with torch.enable_grad():
            self._run()
