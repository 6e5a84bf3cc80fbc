"""What does not learn costs nothing on the way back: no gradient, no product, nothing kept."""

from __future__ import annotations

import pytest
import torch
from test_laws import FAST, FEW, kind, leaves, make
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
OWN = [case for case in CASES if case.values[1].name in ("eager", "cpp", "triton")]
every = pytest.mark.parametrize(("cell", "executor"), CASES)
LEAVES = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "own", "x", "state"]


def part(name: str, weights: Weights, x: Tensor, state: State) -> list[Tensor]:
    return {"x": [x], "state": list(state), "own": list(weights.parameters.values())}.get(name) or [
        t for t in [getattr(weights, name, None)] if t is not None
    ]


def saved_by(function) -> int:
    """How many tensors autograd keeps while the function runs."""
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
def test_where_nothing_learns_the_way_is_forward_only(cell, executor, ids):
    weights, x, state = make(cell, (6, 3, 5, 4), ids=ids, **kind(executor))
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
    """The memory of tensors of at least so many numbers that are made."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least, self.made = least, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for t in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(t, Tensor) and t.numel() >= self._least:
                self.made[t.untyped_storage().data_ptr()] = t
        return result


@pytest.mark.parametrize(("cell", "executor"), OWN)
def test_where_nothing_learns_only_input_sides_and_outputs_of_all_steps_are_held(cell, executor):
    weights, x, state = make(cell, (50, 4, 32, 3), **kind(executor))
    for t in leaves(weights, x, state):
        t.requires_grad_(False)
    with Storages(50 * 4 * 32) as seen:
        executor.run(cell, weights, x, state)
    assert len(seen.made) <= 3


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("learns", LEAVES)
@pytest.mark.parametrize(("cell", "executor"), OTHERS)
def test_what_alone_learns_has_the_gradient_of_reference(cell, executor, learns, ids):
    weights, x, state = make(cell, (4, 2, 5, 3), ids=ids, **kind(executor))
    alone = part(learns, weights, x, state)
    if not alone or not alone[0].is_floating_point():
        return
    for t in leaves(weights, x, state):
        t.requires_grad_(any(t is a for a in alone))
    found, expected = (
        torch.autograd.grad((y * y).sum() + new[-1].sum(), alone)
        for y, new in (e.run(cell, weights, x, state) for e in (executor, executors()["reference"]))
    )
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "x"])
@pytest.mark.parametrize(("cell", "executor"), OWN)
def test_no_product_is_made_for_what_does_not_learn(cell, executor, name):
    steps, batch, hidden, inputs = shape = (5, 3, 32, 4)
    weights, x, state = make(cell, shape, **kind(executor))

    def back() -> int:
        y, _ = executor.run(cell, weights, x, state)
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        return int(counter.get_total_flops()) // 2

    before = back()
    (still,) = part(name, weights, x, state)
    still.requires_grad_(False)
    columns = hidden if name == "weight_hh" else inputs
    assert before - back() == steps * batch * len(cell.gates) * hidden * columns
