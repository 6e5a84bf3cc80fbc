"""Optimizers outside of ``torch.compile``, for which torch need not import its compiler (2 to 3 seconds)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Methods of torch's optimizers that import the compiler to exclude themselves from it."""
WRAPPERS = ("torch._compile", "torch.optim.optimizer")
"""The modules of the wrappers around methods of optimizers that import the compiler."""


def uncompiled(make: Callable[[], Optimizer]) -> Optimizer:
    """The optimizer that ``make`` returns, with its methods as they are inside of torch's wrappers.

    The wrappers matter to ``torch.compile`` alone: they end its graph, or exclude the method from it.
    """
    from torch.optim import Optimizer

    wrapped = Optimizer.add_param_group  # called by the constructor
    try:
        Optimizer.add_param_group = _inside(wrapped)  # type: ignore[method-assign]
        optimizer = make()
    finally:
        Optimizer.add_param_group = wrapped  # type: ignore[method-assign]
    optimizer.__class__ = _uncompiled_class(type(optimizer))  # type: ignore[arg-type]  # a class is hashable
    return optimizer


@cache
def _uncompiled_class(base: type[Optimizer]) -> type[Optimizer]:
    import torch

    methods: dict[str, Any] = {name: _inside(getattr(base, name)) for name in METHODS}
    step = getattr(base.step, "__wrapped__", base.step)  # without the profiler's hook, which is put around it again
    if _inside(step) is not step:  # else the optimizer sets the gradient mode itself
        methods["step"] = base.profile_hook_step(torch.no_grad()(_inside(step)))
        methods["step"].hooked = True
    return type(base.__name__, (base,), {"__module__": base.__module__, **methods})


def _inside(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method without a wrapper of torch that imports the compiler."""
    module = getattr(method, "__globals__", {}).get("__name__")
    inside: Callable[..., Any] = getattr(method, "__wrapped__", method) if module in WRAPPERS else method
    return inside
