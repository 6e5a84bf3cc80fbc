"""Random cells: for any equations, the generated code agrees with plain autograd."""

from __future__ import annotations

import random
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from test_invented_cells import outputs_and_gradients
from test_laws import device_of, make
from torch import Tensor

from charlstm.cells import Cell
from charlstm.cells.base import relu, sigmoid, tanh
from charlstm.executors import State, Weights, executors
from charlstm.executors.base import input_side
from charlstm.executors.step import Step


def random_cell(seed: int) -> Cell:
    """A cell with random equations, in which each operation may use any earlier value again."""
    rng = random.Random(seed)
    gates = "abcde"[: rng.randint(1, 5)]
    state = "hcm"[: rng.randint(1, 3)]
    entries = "uvw"[: rng.randint(0, 3)]
    parts = len(state)
    plan = [(rng.choice("+-*n1strgggo"), rng.random(), rng.random()) for _ in range(rng.randint(3, 14))]
    ends = [rng.random() ** 0.5 for _ in state]
    order = rng.sample(gates, len(gates))
    stopped = "".join(s for s in state if rng.random() < 0.25)

    def equations(x: Any, r: Any, *rest: Any) -> Any:
        values = [*rest[:parts], *(rest[parts][k] for k in entries)]
        unused_gates = list(order)

        def pick(position: float) -> Any:
            return values[int(position * len(values))]

        for kind, first, second in plan:
            a, b = pick(first), pick(second)
            if kind in "go" and unused_gates:
                k = unused_gates.pop()
                side = r[k] if kind == "g" else r.of(sigmoid(a) * b if second < 0.3 else a)[k]
                unary = (sigmoid, tanh, lambda v: v, lambda v: -v)[int(4 * second)]
                values += [unary(x[k] + side if first < 0.7 else side)]
                values += [x[k]] if second < 0.2 else []
            elif kind in "+-*":
                values.append(a + b if kind == "+" else a - b if kind == "-" else a * tanh(b))
            elif kind in "n1":
                values.append(-a if kind == "n" else 1 - 0.3 * a)
            else:
                values.append({"s": sigmoid, "t": tanh, "r": relu}.get(kind, tanh)(a))
        return tuple(pick(min(position, 0.999)) for position in ends)

    parameters = {"weight_extra": entries} if entries else {}
    return Cell(f"random{seed}", equations, gates, state, parameters, stop_gradient=stopped)


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_eager_agrees_with_reference(start):
    for seed in range(start, start + 20):
        cell = random_cell(seed)
        weights, x, state = make(cell, (3, 2, 3, 2), bias=seed % 3 > 0, ids=seed % 2 == 0)
        expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
        actual = outputs_and_gradients(executors()["eager"], cell, weights, x, state)
        for e, f in zip(expected, actual, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-8, atol=1e-9, msg=lambda m, seed=seed: f"seed {seed}: {m}")
        check_step(cell, weights, x, state)


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.slow
def test_triton_agrees_with_reference():
    for seed in range(0, 200, 5):
        cell = random_cell(seed)
        form = {"bias": seed % 3 > 0, "ids": seed % 2 == 0, "device": device_of("triton")}
        weights, x, state = make(cell, (3, 2, 3, 2), **form)
        expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
        actual = outputs_and_gradients(executors()["triton"], cell, weights, x, state)
        for e, f in zip(expected, actual, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-8, atol=1e-9, msg=lambda m, seed=seed: f"seed {seed}: {m}")


def check_step(cell: Cell, weights: Weights, x: Tensor, state: State) -> None:
    """The single step of sampling computes the same state as the reference."""
    with torch.no_grad():
        _, expected = executors()["reference"].run(cell, weights, x[:1], state)
        step = Step(cell, weights, x.shape[1], weights.weight_hh.dtype)
        step.state = state
        step.values.copy_(input_side(x[0], weights.weight_ih, step.bias()))
        step()
        for part, e in zip(step.state, expected, strict=True):
            torch.testing.assert_close(part, e, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.slow
def test_cpp_agrees_with_reference():
    for seed in range(0, 200, 40):
        cell = random_cell(seed)
        weights, x, state = make(cell, (3, 2, 3, 2), bias=seed % 3 > 0, ids=seed % 80 == 0, dtype=torch.float32)
        expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
        actual = outputs_and_gradients(executors()["cpp"], cell, weights, x, state)
        for e, f in zip(expected, actual, strict=True):
            tolerance = 1e-4 * torch.linalg.norm(e) + 1e-5
            assert not torch.linalg.norm(f - e) > tolerance, f"seed {seed}"
