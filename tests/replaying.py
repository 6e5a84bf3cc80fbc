"""A CUDA graph emulated on the CPU: the operations of one call, repeated on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from charlstm.executors.cuda_graph import WARM_UP
from charlstm.executors.precision import flush_subnormals

SYNCHRONIZING = ("_local_scalar_dense", "nonzero", "scalar_tensor", "lift_fresh", "is_nonzero")
"""Operations that synchronize with a GPU or copy a number to it, and so cannot be captured."""


class ReplayedGraph:
    """A stand-in for CudaGraph that captures the operations of the work, and replays them without its Python code.

    As on a GPU, the capture leaves all tensors that existed before, and the random generator, as they were.
    """

    def __init__(
        self,
        work: Callable[[], None],
        device: torch.device,  # noqa: ARG002
        warm_up: int = WARM_UP,
        pool: object = None,  # noqa: ARG002
    ) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for _ in range(warm_up):
                work()
            random = torch.get_rng_state()
            with _Tape() as tape:
                work()
            tape.undo()
            torch.set_rng_state(random)
        self.operations = tape.operations
        result = {operation.__name__.split(".")[0] for operation, *_ in self.operations}
        assert not result & set(SYNCHRONIZING), result

    def __call__(self) -> None:
        with torch.no_grad(), flush_subnormals():
            for operation, arguments, kwargs, results in self.operations:
                new_results = operation(*arguments, **kwargs)
                for old, new in zip(tree_leaves(results), tree_leaves(new_results), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Tape(TorchDispatchMode):
    """The operations, and what was in each tensor from outside before the first operation that wrote to it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, operation: Any, _: Any, arguments: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names = [argument.name for argument in operation._schema.arguments]
        given = {_storage(t).data_ptr() for t in tree_leaves((arguments, kwargs)) if isinstance(t, torch.Tensor)}
        for argument, value in [*zip(names, arguments, strict=False), *kwargs.items()]:
            alias = operation._schema.arguments[names.index(argument)].alias_info
            for t in tree_leaves(value) if alias is not None and alias.is_write else ():
                storage = _storage(t)
                if storage.data_ptr() not in self._own | self._before.keys():
                    self._before[storage.data_ptr()] = storage, storage.clone()
        results = operation(*arguments, **kwargs)
        self._own |= {_storage(t).data_ptr() for t in tree_leaves(results) if isinstance(t, torch.Tensor)} - given
        self.operations.append((operation, arguments, kwargs, results))
        return results

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


def _storage(t: torch.Tensor) -> torch.UntypedStorage:
    return t.untyped_storage()
