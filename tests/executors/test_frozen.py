"""Tensors that do not require a gradient cost nothing: no matmul in the backward pass, no saved values."""

from __future__ import annotations

import pytest
import torch
from test_laws import FAST, FEW, dtype_and_device, leaves, make
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from charlstm.cells import CELLS
from charlstm.executors import State, Weights, executors

CASES = [
    pytest.param(c, e, id=f"{c.name}-{e.name}")
    for c in CELLS.values()
    for e in (*FAST, executors()["reference"])
    if e.name != "vendor" or c.torch
    if e.name != "triton" or c.name in FEW[1:]
]
OTHERS = [case for case in CASES if case.values[1].name != "reference"]
GENERATED = [case for case in CASES if case.values[1].name in ("eager", "cpp", "triton")]
every = pytest.mark.parametrize(("cell", "executor"), CASES)
LEAVES = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "cell_parameters", "x", "state"]


def leaves_named(name: str, weights: Weights, x: Tensor, state: State) -> list[Tensor]:
    return {"x": [x], "state": list(state), "cell_parameters": list(weights.parameters.values())}.get(name) or [
        t for t in [getattr(weights, name, None)] if t is not None
    ]


def saved_by(function) -> int:
    """The number of tensors that autograd saves while the function runs."""
    count = 0

    def pack(t: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        function()
    return count


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@every
@pytest.mark.few(58)
def test_nothing_is_saved_if_nothing_requires_grad(cell, executor, ids):
    weights, x, state = make(cell, (6, 3, 5, 4), ids=ids, **dtype_and_device(executor))
    expected, last = executor.run(cell, weights, x, state)
    assert saved_by(lambda: executor.run(cell, weights, x, state)) > 0
    for t in leaves(weights, x, state):
        t.requires_grad_(False)
    assert saved_by(lambda: executor.run(cell, weights, x, state)) == 0
    y, new = executor.run(cell, weights, x, state)
    assert not any(t.requires_grad for t in (y, *new))
    for a, b in zip((y, *new), (expected, *last), strict=True):
        torch.testing.assert_close(a, b)


class Storages(torch.utils._python_dispatch.TorchDispatchMode):
    """Collects the storages of new tensors with at least ``least`` elements."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least, self.created = least, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for t in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(t, Tensor) and t.numel() >= self._least:
                self.created[t.untyped_storage().data_ptr()] = t
        return result


@pytest.mark.parametrize(("cell", "executor"), GENERATED)
@pytest.mark.few(18)
def test_inference_allocates_only_input_sides_and_outputs(cell, executor):
    weights, x, state = make(cell, (50, 4, 32, 3), **dtype_and_device(executor))
    for t in leaves(weights, x, state):
        t.requires_grad_(False)
    with Storages(50 * 4 * 32) as storages:
        executor.run(cell, weights, x, state)
    assert len(storages.created) <= 3


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("trained", LEAVES)
@pytest.mark.parametrize(("cell", "executor"), OTHERS)
@pytest.mark.few(150)
def test_single_trained_leaf_has_the_gradient_of_reference(cell, executor, trained, ids):
    weights, x, state = make(cell, (4, 2, 5, 3), ids=ids, **dtype_and_device(executor))
    targets = leaves_named(trained, weights, x, state)
    if not targets or not targets[0].is_floating_point():
        return
    for t in leaves(weights, x, state):
        t.requires_grad_(any(t is target for target in targets))
    actual, expected = (
        torch.autograd.grad((y * y).sum() + new[-1].sum(), targets)
        for y, new in (e.run(cell, weights, x, state) for e in (executor, executors()["reference"]))
    )
    for f, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "x"])
@pytest.mark.parametrize(("cell", "executor"), GENERATED)
@pytest.mark.few(40)
def test_no_matmul_is_computed_for_frozen_leaves(cell, executor, name):
    steps, batch, hidden, inputs = shape = (5, 3, 32, 4)
    weights, x, state = make(cell, shape, **dtype_and_device(executor))

    def backward_multiply_adds() -> int:
        y, _ = executor.run(cell, weights, x, state)
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        return int(counter.get_total_flops()) // 2

    before = backward_multiply_adds()
    (frozen,) = leaves_named(name, weights, x, state)
    frozen.requires_grad_(False)
    columns = hidden if name == "weight_hh" else inputs
    assert before - backward_multiply_adds() == steps * batch * len(cell.gates) * hidden * columns
