"""The executors as part of a larger autograd graph."""

from __future__ import annotations

import pytest
import torch
from test_laws import FAST, FEW, device_of, dtype_and_device, leaves, make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.executors import executors

CASES = [
    pytest.param(c, e, id=f"{c.name}-{e.name}")
    for c in CELLS.values()
    for e in (*FAST, executors()["reference"])
    if e.name != "vendor" or c.torch
    if e.name != "triton" or c.name in FEW
]
GENERATED = [case for case in CASES if case.values[1].name in ("eager", "cpp")]
generated = pytest.mark.parametrize(("cell", "executor"), GENERATED)


@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_two_backward_passes_give_equal_gradients(cell, executor):
    weights, x, state = make(cell, (5, 3, 7, 4), **dtype_and_device(executor))
    y, new = executor.run(cell, weights, x, state)
    loss = (y * y).sum() + sum(s.exp().sum() for s in new)
    first = torch.autograd.grad(loss, leaves(weights, x, state), retain_graph=True)
    second = torch.autograd.grad(loss, leaves(weights, x, state))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize(("cell", "executor"), CASES)
@pytest.mark.few(40)
def test_repeated_runs_are_bit_identical(cell, executor, ids):
    weights, x, state = make(cell, (6, 5, 9, 8), ids=ids, dtype=torch.float32, device=device_of(executor.name))
    first, second = (outputs_and_gradients(executor, cell, weights, x, state) for _ in range(2))
    assert all(map(torch.equal, first, second))


@generated
@pytest.mark.parametrize("detach", [False, True], ids=["tracked", "detached"])
def test_modifying_the_output_in_place_is_an_error(cell, executor, detach):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))

    def double_and_differentiate() -> None:
        y, new = executor.run(cell, weights, x, state)
        (y.detach() if detach else y).mul_(2)
        torch.autograd.grad(y.sum() + new[0].sum(), leaves(weights, x, state))

    with pytest.raises(RuntimeError, match=r"modified (by an )?in-?place"):
        double_and_differentiate()


@generated
def test_modifying_the_last_state_in_place_is_allowed(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))
    y, new = executor.run(cell, weights, x, state)
    before = y.detach().clone()
    for part in new:
        part.mul_(3)
    assert torch.equal(y, before)
    actual = torch.autograd.grad(sum(s.sum() for s in new), leaves(weights, x, state))
    _, new = executors()["reference"].run(cell, weights, x, state)
    expected = torch.autograd.grad(3 * sum(s.sum() for s in new), leaves(weights, x, state))
    for f, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(f, e)


@generated
def test_modifying_a_weight_before_backward_is_an_error(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))
    y, _ = executor.run(cell, weights, x, state)
    with torch.no_grad():
        weights.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@generated
@pytest.mark.parametrize("frozen", ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "x", "state"])
def test_only_frozen_leaves_get_no_gradient(cell, executor, frozen):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))
    y, _ = executor.run(cell, weights, x, state)
    all_leaves = leaves(weights, x, state)
    expected = dict(zip(map(id, all_leaves), torch.autograd.grad(y.sum(), all_leaves), strict=True))
    frozen_leaves = {"x": [x], "state": list(state)}.get(frozen) or [getattr(weights, frozen)]
    for t in frozen_leaves:
        t.requires_grad_(False)
    executor.run(cell, weights, x, state)[0].sum().backward()
    for t in all_leaves:
        if any(t is s for s in frozen_leaves):
            assert t.grad is None
        else:
            torch.testing.assert_close(t.grad, expected[id(t)])


def second_derivatives(executor, cell, weights, x, state, power=1):
    """Gradients of a loss that is linear (power 1) or quadratic (2) in the outputs, and those of a penalty on them."""
    inputs = [t for t in leaves(weights, x, state) if t.is_leaf]
    y, new = executor.run(cell, weights, x, state)
    loss = sum((t**power).sum() for t in (y, *new))
    gradients = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
    penalty = sum((g * g).sum() for g in gradients)
    return [*gradients, *torch.autograd.grad(penalty, inputs, materialize_grads=True)]


def assert_close_in_norm(actual, expected, tolerance):
    """Within a relative distance of the expected values."""
    for f, e in zip(actual, expected, strict=True):
        assert f.dtype == e.dtype
        assert (f - e).norm() <= tolerance * max(e.norm(), 1e-3), (f, e)


@pytest.mark.parametrize("power", [1, 2], ids=["linear", "quadratic"])
@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize(("cell", "executor"), CASES)
@pytest.mark.few(60)
def test_second_derivatives_equal_those_of_reference(cell, executor, ids, power):
    weights, x, state = make(cell, (3, 2, 4, 3), ids=ids, **dtype_and_device(executor))
    if refusal := executor.refuses(cell, weights, x):
        pytest.skip(refusal)
    expected = second_derivatives(executors()["reference"], cell, weights, x, state, power)
    actual = second_derivatives(executor, cell, weights, x, state, power)
    assert any(g.any() for g in actual[len(actual) // 2 :])
    assert_close_in_norm(actual, expected, 1e-4 if x.dtype == torch.float32 or executor.name == "cpp" else 1e-9)


@generated
def test_second_derivatives_treat_inputs_as_independent(cell, executor):
    """The state was computed with the same weights: their gradients must not include that dependence."""
    weights, x, state = make(cell, (3, 2, 4, 3), **dtype_and_device(executor))
    actual, expected = (
        second_derivatives(e, cell, weights, x, e.run(cell, weights, x, state)[1])
        for e in (executor, executors()["reference"])
    )
    assert_close_in_norm(actual, expected, 1e-4)


@generated
def test_bfloat16_second_derivatives_are_near_reference(cell, executor):
    weights, x, state = make(cell, (3, 2, 4, 3), dtype=torch.float32)
    results = []
    for each in (executor, executors()["reference"]):
        with torch.autocast("cpu", torch.bfloat16):
            if refusal := each.refuses(cell, weights, x):
                pytest.skip(refusal)
            results.append(second_derivatives(each, cell, weights, x, state))
    assert_close_in_norm(*results, 0.1)
