"""A function of tensors that is called many times in a row: on an NVIDIA GPU, a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeAlias

import torch
from torch import Tensor

from charlstm.executors.cuda_graph import CudaGraph

CAPTURING_DEVICES = ("cuda",)
MIN_CALLS = 4
"""Calls from which a capture, which takes as long as a call, saves time."""

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]

_launched: set[Hashable] = set()
"""What was called in this process: its kernels are compiled, and the libraries have allocated their workspaces."""


class RepeatedPass:
    """Calls a function of tensors, which reads nothing else that changes, and returns new tensors.

    On an NVIDIA GPU, calls with tensors of the same shapes replay a CUDA graph of the function, if there will be at
    least ``MIN_CALLS`` and one was made before. The results are the same, bit for bit. What cannot be captured, for
    lack of memory or another reason, is launched operation by operation.

    Args:
        key: what was captured before, in this process, if it is the same and so are the shapes.
        calls: how many there will be.
    """

    def __init__(self, function: Function, key: Hashable, device: torch.device, calls: int) -> None:
        self._function, self._key, self._device = function, key, device
        self._may_capture = device.type in CAPTURING_DEVICES and calls >= MIN_CALLS
        self._shapes: list[torch.Size] = []
        self._graph: CudaGraph | None = None
        self._arguments: list[Tensor] = []
        self._results: tuple[Tensor, ...] = ()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        shapes = [t.shape for t in tensors]
        if self._graph is None and self._may_capture:
            layout = self._key, self._device, *shapes
            if layout in _launched:
                self._shapes = shapes
                self._capture(tensors)
            _launched.add(layout)
        if self._graph is None or shapes != self._shapes:
            return self._function(*tensors)
        for static, t in zip(self._arguments, tensors, strict=True):
            static.copy_(t)
        self._graph()
        return tuple(result.clone() for result in self._results)

    def _capture(self, tensors: tuple[Tensor, ...]) -> None:
        self._may_capture = False
        try:
            self._arguments = [t.clone() for t in tensors]
            self._graph = CudaGraph(self._run, self._device, warm_up=0)
        except Exception:  # out of memory, or an operation that cannot be captured
            self._arguments, self._results = [], ()

    def _run(self) -> None:
        self._results = self._function(*self._arguments)
