"""Chooses the executor of a layer and records why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
BFLOAT16_STATE = "stores the cell state in bfloat16"


@cache
def executors() -> dict[str, Executor]:
    """All executors by name."""
    return {e.name: e for e in (Reference(), Eager(), Vendor(), Cpp(), Triton())}


@dataclass(frozen=True)
class Choice:
    """The executor that runs a layer, why it was chosen, why each other was not, and which of these cannot run it."""

    executor: Executor
    reason: str
    others: dict[str, str]
    refusing: tuple[str, ...] = ()
    made_for_device: tuple[str, ...] = ()
    """Those of ``refusing`` that support only this device type."""


def permits(requested: str, executor: Executor) -> bool:
    """Whether a request (a name or ``auto``) allows this executor."""
    return requested == executor.name or (requested == AUTO and executor.automatic)


def stack_runner(requested: str, device: str) -> StackRunner | None:
    """What runs whole stacks in one call on this device type, if the request allows one."""
    runners = (executor.stacks for executor in executors().values() if permits(requested, executor))
    return next((runner for runner in runners if runner is not None and device in runner.stack_devices), None)


def preference_order(device: str, reduced_precision: bool, cell: Cell) -> tuple[str, ...]:
    """The order in which ``auto`` tries the executors, unless one was measured to be the fastest.

    | device     | float32                                                  | matmuls in bfloat16 |
    |------------|----------------------------------------------------------|---------------------|
    | NVIDIA GPU | vendor, triton, eager                                    | triton, eager       |
    | CPU        | LSTM: cpp, vendor, eager; all others: cpp, eager, vendor | cpp, eager          |
    | other      | eager                                                    | eager               |

    ``vendor`` is never chosen under bfloat16, since it rounds the cell state to bfloat16 at every step.
    """
    if device == "cuda":
        return ("triton", "eager") if reduced_precision else ("vendor", "triton", "eager")
    if device != "cpu":
        return ("eager",)
    if reduced_precision:
        return ("cpp", "eager")
    return ("cpp", "vendor", "eager") if cell.torch == "LSTM" else ("cpp", "eager", "vendor")


def choose(requested: str, cell: Cell, weights: Weights, x: Tensor, preferred_executor: str | None = None) -> Choice:
    """Choose the requested executor, or for ``auto`` the preferred one if it can run the cell, else the first in
    :func:`preference_order` that can.

    ``preferred_executor`` is the one that a resumed run started with, which is given as the reason, or that was the
    fastest in trials, which :func:`explain_trials` gives.
    Raises UserError if the requested one does not exist or cannot run the cell.
    """
    known = executors()
    if requested != AUTO:
        if requested not in known:
            raise UserError(f"unknown executor {requested!r}; choose one of auto, {', '.join(known)}")
        refusal = known[requested].refuses(cell, weights, x)
        if refusal:
            raise UserError(f"executor {requested} cannot run cell {cell.name} here: {refusal}. Use executor: auto")
        return Choice(known[requested], "requested", {})
    device, reduced_precision = _device_and_precision(weights)
    refusals = {name: executor.refuses(cell, weights, x) for name, executor in known.items()}
    if preferred_executor is not None and refusals[preferred_executor] is None:
        chosen, reason = preferred_executor, "the run started with it, and another one would round differently"
        not_chosen = dict.fromkeys(known, f"the run started with {preferred_executor}")
    else:
        chosen = next(name for name in preference_order(device, reduced_precision, cell) if refusals[name] is None)
        reason = f"the first on {device} that can run the cell"
        not_chosen = dict.fromkeys(known, f"comes after {chosen} on {device}")
    if reduced_precision:
        not_chosen["vendor"] = BFLOAT16_STATE
    others = {name: refusals[name] or not_chosen[name] for name in known if name != chosen}
    refusing = tuple(name for name in others if refusals[name])
    made_for_device = tuple(name for name in refusing if known[name].devices == (device,))
    return Choice(known[chosen], reason, others, refusing, made_for_device)


def explain_trials(choice: Choice, seconds: Mapping[str, float]) -> Choice:
    """A choice of the executor that was the fastest in trials, with the time of each candidate as the reasons."""
    chosen = choice.executor.name
    if chosen not in seconds:
        return choice
    others = dict(choice.others)
    for name in others.keys() - {*choice.refusing}:
        if name in seconds:
            ratio = seconds[name] / seconds[chosen]
            others[name] = (
                f"took {ratio:.2f} times as long"
                if ratio > 1
                else f"was at most {1 - ratio:.0%} faster, within the noise, and comes after {chosen}"
            )
        elif not executors()[name].automatic:
            others[name] = "auto never takes it: the others are tested against it"
    return replace(choice, reason="the fastest in training steps that were timed on this machine", others=others)


def candidates(cell: Cell, weights: Weights, x: Tensor) -> list[str]:
    """All executors that ``auto`` may choose for a layer, in :func:`preference_order`."""
    known = executors()
    return [
        name
        for name in preference_order(*_device_and_precision(weights), cell)
        if known[name].refuses(cell, weights, x) is None
    ]


def _device_and_precision(weights: Weights) -> tuple[str, bool]:
    """The device type, and whether matmuls have a lower precision than the weights."""
    return weights.weight_hh.device.type, matmul_dtype(weights.weight_hh) != weights.weight_hh.dtype
