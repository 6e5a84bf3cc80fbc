"""Every executor on every cell has the outputs and gradients of ``reference``."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from charlstm.cells import CELLS, Cell
from charlstm.executors import State, Weights, executors

ABSENT = () if find_spec("triton") else ("triton",)
FAST = [e for e in executors().values() if e.name not in ("reference", *ABSENT)]
SUPPORT_BFLOAT16 = [e.name for e in FAST if e.name != "vendor"]
FEW = ("lstm", "gru", "gru_reset_before", "peephole")  # if all cells would take long, interpreted or compiled
BFLOAT16_CASES = [
    pytest.param(c, name, id=f"{c.name}-{name}")
    for c, name in product(CELLS.values(), SUPPORT_BFLOAT16)
    if name != "triton" or c.name in FEW
]
CASES = [
    pytest.param(
        c, e, id=f"{c.name}-{e.name}", marks=pytest.mark.slow if e.name == "triton" and c.name not in FEW else ()
    )
    for c, e in product(CELLS.values(), FAST)
]
INTERPRETED = [(5, 3, 7, 4), (1, 1, 1, 1), (3, 4, 33, 65)]
SHAPES = [(5, 3, 7, 4), (1, 3, 7, 4), (5, 1, 7, 4), (6, 2, 1, 3), (1, 1, 1, 1), (3, 4, 33, 65)]


# tolerances in float64 and in float32
FLOAT64_TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}
FLOAT32_TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def dtype_and_device(executor) -> dict[str, Any]:
    """The dtype and the device of the tensors that an executor is tested with, as arguments of ``make``."""
    dtype = torch.float32 if executor.name == "cpp" else torch.float64
    return {"dtype": dtype, "device": device_of(executor.name)}


def device_of(name: str) -> str:
    """The GPU if there is one, except for cpp; on the CPU Triton's kernels are interpreted."""
    return "cuda" if name != "cpp" and torch.cuda.is_available() else "cpu"


def forms(cell, executor) -> list[tuple[tuple[int, ...], bool, bool]]:
    """Shapes, with ids or vectors, with biases or without; few if kernels are interpreted, which takes long."""
    every = [*product(SHAPES, [False, True], [True, False])]
    few = INTERPRETED if cell.name in FEW else INTERPRETED[:2]
    interpreted = executor.name == "triton" and device_of("triton") == "cpu"
    return [f for f in every if f[0] in few and f[1] == f[2]] if interpreted else every


def make(
    cell: Cell,
    shape: tuple[int, int, int, int],
    *,
    bias: bool = True,
    ids: bool = False,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> tuple[Weights, Tensor, State]:
    steps, batch, hidden, inputs = shape
    generator = torch.Generator().manual_seed(sum(map(ord, cell.name)) + steps)

    def leaf(*size: int) -> Tensor:
        drawn = torch.randn(*size, generator=generator, dtype=torch.float64)
        return drawn.to(device, dtype).mul_(0.6).requires_grad_()

    shapes = cell.parameter_shapes(inputs, hidden, bias)
    values = {
        name: leaf(steps, batch, *size).detach() if name in cell.per_step else leaf(*size)
        for name, size in shapes.items()
    }
    parameters = {name: values.pop(name) for name in cell.parameters}
    weights = Weights(**values, parameters=parameters)
    x = torch.randint(inputs + 1, (steps, batch), generator=generator).to(device) if ids else leaf(steps, batch, inputs)
    return weights, x, tuple(leaf(batch, hidden) for _ in cell.state)


def leaves(weights: Weights, x: Tensor, state: State) -> list[Tensor]:
    matrices_and_biases = [weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    candidates = [*matrices_and_biases, *weights.parameters.values(), x, *state]
    return [t for t in candidates if t is not None and t.requires_grad]


def outputs_and_gradients(executor, cell: Cell, weights: Weights, x: Tensor, state: State) -> list[Tensor]:
    y, new = executor.run(cell, weights, x, state)
    generator = torch.Generator().manual_seed(1)
    loss = sum((t * torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t)).sum() for t in (y, *new))
    return [y, *new, *torch.autograd.grad(loss, leaves(weights, x, state))]


@pytest.mark.parametrize(
    ("cell", "executor", "shape", "ids", "bias"),
    [
        pytest.param(c, e, *form, id=f"{c.name}-{e.name}-{'-'.join(map(str, form))}")
        for c, e in product(CELLS.values(), FAST)
        for form in forms(c, e)
    ],
)
@pytest.mark.few(433)  # every third, so all forms occur: an even stride would skip those without biases
def test_same_outputs_and_gradients_as_reference(cell, executor, shape, ids, bias):
    weights, x, state = make(cell, shape, bias=bias, ids=ids, **dtype_and_device(executor))
    refusal = executor.refuses(cell, weights, x)
    if refusal:
        assert cell.torch is None or executor.name == "cpp"
        pytest.skip(refusal)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    actual = outputs_and_gradients(executor, cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(f, e, **(FLOAT32_TOLERANCE if executor.name == "cpp" else FLOAT64_TOLERANCE))


@pytest.mark.parametrize("inputs", [7, 300])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8], ids=str)
@pytest.mark.parametrize("executor", executors().values(), ids=lambda e: e.name)
def test_ids_may_have_any_integer_dtype(executor, dtype, inputs):
    cell = CELLS["lstm"]
    weights, x, state = make(cell, (3, 2, 4, inputs), ids=True, **dtype_and_device(executor))
    x %= 7
    if executor.refuses(cell, weights, x):
        pytest.skip("refused")
    expected, actual = (outputs_and_gradients(executor, cell, weights, ids, state) for ids in (x, x.to(dtype)))
    assert all(map(torch.equal, expected, actual))


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("executor", executors().values(), ids=lambda e: e.name)
def test_empty_sequence_leaves_the_state_as_it_is(executor, ids):
    cell = CELLS["lstm"]
    weights, x, state = make(cell, (0, 3, 5, 4), ids=ids, **dtype_and_device(executor))
    if executor.name == "vendor":
        pytest.skip("torch's layers take no empty sequences")
    y, last = executor.run(cell, weights, x, state)
    assert y.shape == (0, 3, 5)
    assert all(map(torch.equal, last, state))
    gradients = torch.autograd.grad(sum(part.sum() for part in last), state)
    assert all((gradient == 1).all() for gradient in gradients)


@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_loss_of_the_last_state_alone_has_equal_gradients(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))
    if executor.refuses(cell, weights, x):
        pytest.skip("refused")
    actual, expected = (
        torch.autograd.grad(sum(s.sum() for s in e.run(cell, weights, x, state)[1]), leaves(weights, x, state))
        for e in (executor, executors()["reference"])
    )
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(f, e)


@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_chunks_with_carried_state_equal_one_sequence(cell, executor):
    weights, x, state = make(cell, (9, 3, 6, 4), **dtype_and_device(executor))
    if executor.refuses(cell, weights, x):
        pytest.skip("refused")
    full, last = executor.run(cell, weights, x, state)
    parts, carried = [], state
    for chunk in x.split([4, 1, 4]):
        y, carried = executor.run(cell, weights, chunk, carried)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), full)
    for a, b in zip(carried, last, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("cell", "executor"), CASES)
def test_run_does_not_modify_its_inputs(cell, executor):
    weights, x, state = make(cell, (4, 2, 5, 3), **dtype_and_device(executor))
    if executor.refuses(cell, weights, x):
        pytest.skip("refused")
    before = [t.detach().clone() for t in leaves(weights, x, state)]
    outputs_and_gradients(executor, cell, weights, x, state)
    for old, new in zip(before, leaves(weights, x, state), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("name", ["eager", "cpp"])
def test_backward_ignores_autocast(name):
    """Its matmuls have the compute dtype of the forward pass."""
    cell, executor = CELLS["lstm"], executors()[name]
    weights, x, state = make(
        cell, (4, 3, 32, 5), dtype=torch.float32
    )  # hidden size 32 needs no padding, so the expanded gradient of sum is passed on
    if refusal := executor.refuses(cell, weights, x):
        pytest.skip(refusal)
    inputs = leaves(weights, x, state)
    expected, loss = (e.run(cell, weights, x, state)[0].sum() for e in (executors()["reference"], executor))
    expected = torch.autograd.grad(expected, inputs)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            actual = torch.autograd.grad(loss, inputs, retain_graph=True)
        torch.testing.assert_close(actual, expected, **FLOAT32_TOLERANCE)


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize(("cell", "name"), BFLOAT16_CASES)
@pytest.mark.few(17)
def test_bfloat16_results_are_near_float32(cell, name, ids):
    weights, x, state = make(cell, (12, 8, 32, 20), ids=ids, dtype=torch.float32, device=device_of(name))
    with torch.no_grad():
        weights.weight_hh.mul_(0.2)
    executor = executors()[name]
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    with torch.autocast(x.device.type, torch.bfloat16):
        actual = outputs_and_gradients(executor, cell, weights, x, state)
    jumps = cell.name == "irnn"  # relu's derivative is discontinuous, so rounding can add or remove a term
    truncates = name == "triton" and x.device.type == "cpu"  # the interpreter truncates to bfloat16 instead of rounding
    for e, f in zip(expected, actual, strict=True):
        assert f.dtype == (torch.bfloat16 if name != "eager" and f is actual[0] else torch.float32)
        assert torch.linalg.norm(f.float() - e) <= (0.2 if jumps else 0.1 if truncates else 0.02) * torch.linalg.norm(e)


@pytest.mark.parametrize(("cell", "name"), BFLOAT16_CASES)
def test_autocast_changes_the_compute_dtype(cell, name):
    weights, x, state = make(cell, (3, 2, 8, 4), dtype=torch.float32, device=device_of(name))
    executor = executors()[name]
    in_float32, _ = executor.run(cell, weights, x, state)
    with torch.autocast(x.device.type, torch.bfloat16):
        in_bfloat16, _ = executor.run(cell, weights, x, state)
    assert not torch.equal(in_float32, in_bfloat16.float())
