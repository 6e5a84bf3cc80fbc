"""How the executors behave as part of a larger autograd graph."""

from __future__ import annotations

import pytest
import torch
from test_laws import FAST, FEW, device_of, kind, leaves, make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.executors import executors

CASES = [
    pytest.param(c, e, id=f"{c.name}-{e.name}")
    for c in CELLS.values()
    for e in (*FAST, executors()["reference"])
    if e.name != "vendor" or c.torch
    if e.name != "triton" or c.name in FEW
]
OWN = [case for case in CASES if case.values[1].name in ("eager", "cpp")]
own = pytest.mark.parametrize(("cell", "executor"), OWN)


@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_two_backward_passes_give_equal_gradients(cell, executor):
    weights, x, state = make(cell, (5, 3, 7, 4), **kind(executor))
    y, new = executor.run(cell, weights, x, state)
    loss = (y * y).sum() + sum(s.exp().sum() for s in new)
    first = torch.autograd.grad(loss, leaves(weights, x, state), retain_graph=True)
    second = torch.autograd.grad(loss, leaves(weights, x, state))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_repeated_runs_are_equal_bit_by_bit(cell, executor, ids):
    weights, x, state = make(cell, (6, 5, 9, 8), ids=ids, dtype=torch.float32, device=device_of(executor.name))
    first, second = (outputs_and_gradients(executor, cell, weights, x, state) for _ in range(2))
    assert all(map(torch.equal, first, second))


@own
@pytest.mark.parametrize("hide", [False, True], ids=["seen", "unseen"])
def test_changing_the_output_in_place_is_an_error_not_a_wrong_gradient(cell, executor, hide):
    weights, x, state = make(cell, (4, 2, 5, 3), **kind(executor))

    def double_and_differentiate() -> None:
        y, new = executor.run(cell, weights, x, state)
        (y.detach() if hide else y).mul_(2)
        torch.autograd.grad(y.sum() + new[0].sum(), leaves(weights, x, state))

    with pytest.raises(RuntimeError, match=r"modified (by an )?in-?place"):
        double_and_differentiate()


@own
def test_changing_the_last_state_in_place_leaves_outputs_and_gradients_right(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **kind(executor))
    y, new = executor.run(cell, weights, x, state)
    before = y.detach().clone()
    for part in new:
        part.mul_(3)
    assert torch.equal(y, before)
    found = torch.autograd.grad(sum(s.sum() for s in new), leaves(weights, x, state))
    _, new = executors()["reference"].run(cell, weights, x, state)
    expected = torch.autograd.grad(3 * sum(s.sum() for s in new), leaves(weights, x, state))
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


@own
def test_changing_a_weight_before_backward_is_an_error(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **kind(executor))
    y, _ = executor.run(cell, weights, x, state)
    with torch.no_grad():
        weights.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@own
@pytest.mark.parametrize("frozen", ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "x", "state"])
def test_a_frozen_leaf_gets_no_gradient_and_all_others_theirs(cell, executor, frozen):
    weights, x, state = make(cell, (4, 2, 5, 3), **kind(executor))
    y, _ = executor.run(cell, weights, x, state)
    all_leaves = leaves(weights, x, state)
    expected = dict(zip(map(id, all_leaves), torch.autograd.grad(y.sum(), all_leaves), strict=True))
    still = {"x": [x], "state": list(state)}.get(frozen) or [getattr(weights, frozen)]
    for t in still:
        t.requires_grad_(False)
    executor.run(cell, weights, x, state)[0].sum().backward()
    for t in all_leaves:
        if any(t is s for s in still):
            assert t.grad is None
        else:
            torch.testing.assert_close(t.grad, expected[id(t)])


def second_derivatives(executor, cell, weights, x, state, power=1):
    """Gradients of a loss that is linear (power 1) or quadratic (2) in the outputs, and those of a penalty on them."""
    given = [t for t in leaves(weights, x, state) if t.is_leaf]
    y, new = executor.run(cell, weights, x, state)
    loss = sum((t**power).sum() for t in (y, *new))
    gradients = torch.autograd.grad(loss, given, create_graph=True, materialize_grads=True)
    penalty = sum((g * g).sum() for g in gradients)
    return [*gradients, *torch.autograd.grad(penalty, given, materialize_grads=True)]


def assert_near(found, expected, share):
    """Apart by no more than a share of what is expected."""
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == e.dtype
        assert (f - e).norm() <= share * max(e.norm(), 1e-3), (f, e)


@pytest.mark.parametrize("power", [1, 2], ids=["linear", "quadratic"])
@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_second_derivatives_are_those_of_reference(cell, executor, ids, power):
    weights, x, state = make(cell, (3, 2, 4, 3), ids=ids, **kind(executor))
    if refusal := executor.refuses(cell, weights, x):
        pytest.skip(refusal)
    expected = second_derivatives(executors()["reference"], cell, weights, x, state, power)
    found = second_derivatives(executor, cell, weights, x, state, power)
    assert any(g.any() for g in found[len(found) // 2 :])
    assert_near(found, expected, 1e-4 if x.dtype == torch.float32 or executor.name == "cpp" else 1e-9)


@own
def test_a_second_derivative_sees_its_inputs_as_given(cell, executor):
    """The state comes from a run in the same weights: only what they do in the second run is theirs there."""
    weights, x, state = make(cell, (3, 2, 4, 3), **kind(executor))
    found, expected = (
        second_derivatives(e, cell, weights, x, e.run(cell, weights, x, state)[1])
        for e in (executor, executors()["reference"])
    )
    assert_near(found, expected, 1e-4)


@own
def test_second_derivatives_in_bfloat16_are_those_of_reference(cell, executor):
    weights, x, state = make(cell, (3, 2, 4, 3), dtype=torch.float32)
    results = []
    for each in (executor, executors()["reference"]):
        with torch.autocast("cpu", torch.bfloat16):
            if refusal := each.refuses(cell, weights, x):
                pytest.skip(refusal)
            results.append(second_derivatives(each, cell, weights, x, state))
    assert_near(*results, 0.1)
