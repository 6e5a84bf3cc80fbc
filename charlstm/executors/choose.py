"""Picks the executor of a layer and says why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from torch import Tensor

from charlstm.cells import Cell
from charlstm.errors import UserError
from charlstm.executors.base import Executor, StackRunner, Weights, matmul_dtype
from charlstm.executors.cpp import Cpp
from charlstm.executors.eager import Eager
from charlstm.executors.reference import Reference
from charlstm.executors.triton import Triton
from charlstm.executors.vendor import Vendor

AUTO = "auto"
BFLOAT16_STATE = "keeps the cell state in bfloat16"


@cache
def executors() -> dict[str, Executor]:
    """All executors by name."""
    return {e.name: e for e in (Reference(), Eager(), Vendor(), Cpp(), Triton())}


@dataclass(frozen=True)
class Choice:
    """The executor that runs a layer, why it was taken, why each other was not, and which of these cannot run it."""

    executor: Executor
    reason: str
    others: dict[str, str]
    refusing: tuple[str, ...] = ()
    made_for_device: tuple[str, ...] = ()
    """Those of ``refusing`` that are made for this type of device alone."""


def permits(requested: str, executor: Executor) -> bool:
    """Whether a request, a name or ``auto``, lets this executor run."""
    return requested == executor.name or (requested == AUTO and executor.automatic)


def stack_runner(requested: str, device: str) -> StackRunner | None:
    """What runs whole stacks in one call on this type of device, if a request lets it."""
    runners = (executor.stacks for executor in executors().values() if permits(requested, executor))
    return next((runner for runner in runners if runner is not None and device in runner.stack_devices), None)


def preference_order(device: str, low: bool, cell: Cell) -> tuple[str, ...]:
    """The executors from which ``auto`` takes the first willing one, unless one was measured to be the fastest;
    ``low``: with products in bfloat16.

    | device     | float32                                                             | bfloat16         |
    |------------|---------------------------------------------------------------------|------------------|
    | NVIDIA GPU | vendor, triton, eager                                           | triton, eager |
    | CPU        | cpp, vendor, eager for the LSTM; cpp, eager, vendor   | cpp, eager |
    | other      | eager                                                               | eager            |

    Under bfloat16 ``vendor`` is never taken, since it rounds the cell state to bfloat16 at every step.
    """
    if device == "cuda":
        return ("triton", "eager") if low else ("vendor", "triton", "eager")
    if device != "cpu":
        return ("eager",)
    if low:
        return ("cpp", "eager")
    return ("cpp", "vendor", "eager") if cell.torch == "LSTM" else ("cpp", "eager", "vendor")


def choose(requested: str, cell: Cell, weights: Weights, x: Tensor, preferred: str | None = None) -> Choice:
    """The requested executor, or for ``auto`` the ``preferred`` one if it is willing, else the first in :func:`preference_order`
    that is.

    ``preferred`` names the executor that was measured to be the fastest, or that a run began with.
    Raises UserError if the requested one refuses or does not exist.
    """
    known = executors()
    if requested != AUTO:
        if requested not in known:
            raise UserError(f"no executor {requested!r}; there are auto, {', '.join(known)}")
        refusal = known[requested].refuses(cell, weights, x)
        if refusal:
            raise UserError(f"executor {requested} cannot run cell {cell.name} here: {refusal}. Use executor: auto")
        return Choice(known[requested], "asked for", {})
    device, low = _device_and_precision(weights)
    refusals = {name: executor.refuses(cell, weights, x) for name, executor in known.items()}
    if preferred is not None and refusals[preferred] is None:
        chosen, reason = preferred, "measured to be the fastest here, or what the run began with"
        behind = dict.fromkeys(known, f"this run takes {preferred}")
    else:
        chosen = next(name for name in preference_order(device, low, cell) if refusals[name] is None)
        reason, behind = f"the first willing on {device}", dict.fromkeys(known, f"comes after {chosen} on {device}")
    if low:
        behind["vendor"] = BFLOAT16_STATE
    others = {name: refusals[name] or behind[name] for name in known if name != chosen}
    refusing = tuple(name for name in others if refusals[name])
    made_here = tuple(name for name in refusing if known[name].devices == (device,))
    return Choice(known[chosen], reason, others, refusing, made_here)


def candidates(cell: Cell, weights: Weights, x: Tensor) -> list[str]:
    """All executors that ``auto`` may take for a layer, in :func:`preference_order`."""
    known = executors()
    return [
        name
        for name in preference_order(*_device_and_precision(weights), cell)
        if known[name].refuses(cell, weights, x) is None
    ]


def _device_and_precision(weights: Weights) -> tuple[str, bool]:
    """The device, and whether products are made in a lower precision than that of the weights."""
    return weights.weight_hh.device.type, matmul_dtype(weights.weight_hh) != weights.weight_hh.dtype
