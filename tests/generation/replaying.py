"""What a CUDA graph does, on the CPU: the operations of one call, done again on the very tensors that it had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from charlstm.executors.cuda_graph import WARM_UP

WAITS = ("_local_scalar_dense", "nonzero", "scalar_tensor", "lift_fresh", "is_nonzero")
"""Operations that read from a GPU, or bring a number to it, and so cannot be captured."""


class Replayed:
    """A stand-in for Recording that runs the work as a capture does, and Python's part of it never again."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:  # noqa: ARG002
        with torch.inference_mode(False), torch.no_grad():
            for _ in range(WARM_UP):
                work()
            with _Tape() as tape:
                work()
        self.operations = tape.operations
        found = {operation.__name__.split(".")[0] for operation, *_ in self.operations}
        assert not found & set(WAITS), found

    def __call__(self) -> None:
        for operation, arguments, named, results in self.operations:
            again = operation(*arguments, **named)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, operation: Any, _: Any, arguments: Any = (), named: Any = None) -> Any:
        results = operation(*arguments, **(named or {}))
        self.operations.append((operation, arguments, named or {}, results))
        return results
