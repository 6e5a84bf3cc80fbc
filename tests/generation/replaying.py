"""A CUDA graph emulated on the CPU: the operations of one call, repeated on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from charlstm.executors.cuda_graph import WARM_UP

SYNCHRONIZING = ("_local_scalar_dense", "nonzero", "scalar_tensor", "lift_fresh", "is_nonzero")
"""Operations that synchronize with a GPU or copy a number to it, and so cannot be captured."""


class ReplayedGraph:
    """A stand-in for CudaGraph that captures the operations of the work, and replays them without its Python code."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:  # noqa: ARG002
        with torch.inference_mode(False), torch.no_grad():
            for _ in range(WARM_UP):
                work()
            with _Tape() as tape:
                work()
        self.operations = tape.operations
        result = {operation.__name__.split(".")[0] for operation, *_ in self.operations}
        assert not result & set(SYNCHRONIZING), result

    def __call__(self) -> None:
        for operation, arguments, kwargs, results in self.operations:
            new_results = operation(*arguments, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(new_results), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, operation: Any, _: Any, arguments: Any = (), kwargs: Any = None) -> Any:
        results = operation(*arguments, **(kwargs or {}))
        self.operations.append((operation, arguments, kwargs or {}, results))
        return results
