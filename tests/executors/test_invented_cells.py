"""Cells with unusual equations on every executor, compared to plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from test_laws import device_of, leaves, make
from torch import Tensor

from charlstm.cells import CELLS, Cell, cell
from charlstm.cells.base import relu, sigmoid, tanh
from charlstm.executors import Executor, State, Weights, executors
from charlstm.executors.cpp.build import kernels
from charlstm.executors.step import Step

INVENTED: list[Cell] = []


def invent(**declaration: Any) -> Callable[[Callable[..., Any]], Cell]:
    """As ``cell``, but without registering it, so that other tests do not see it."""

    def declare(equations: Callable[..., Any]) -> Cell:
        invented = cell(**declaration)(equations)
        del CELLS[invented.name]
        INVENTED.append(invented)
        return invented

    return declare


@invent(gates="abcd", state="hm", parameters={"scale": "uv", "weight_rate": "w"})
def every_operator(x, r, h, m, scale, rate):
    a = sigmoid(x.a + r.a)
    b = relu(-(x.b + r.b) + 0.25)
    c = tanh(x.c - 2 * r.c)
    d = relu(0.1 - x.d) * sigmoid(r.d * scale.u)
    keep = sigmoid(rate.w)
    m = keep * m + (1 - keep) * (c - b * scale.v) - 0.3
    return a * tanh(m) + d * m * h, m


@invent(gates="fh", state="h")
def minimal_gated(x, r, h):
    f = sigmoid(x.f + r.f)
    return (1 - f) * h + f * tanh(x.h + r.of(f * h).h)


@invent(gates="h", state="h", parameters={"rate": "a"})
def leaky_learned(x, r, h, rate):
    a = sigmoid(rate.a)
    return (1 - a) * h + a * tanh(x.h + r.h)


@invent(gates="h", state="h", parameters={"rate": "a"})
def leaky_plain_rate(x, r, h, rate):
    return (1 - rate.a) * h + rate.a * tanh(x.h + r.h)


@invent(gates="abc", state="h")
def three_operands(x, r, h):
    a = sigmoid(x.a + r.of(h * h).a)
    b = tanh(x.b + r.of(a - h).b)
    return a * b + (1 - a) * sigmoid(x.c + r.c)


@invent(gates="ab", state="hc")
def matmul_of_the_new_state(x, r, h, c):
    c = 0.5 * c + tanh(x.a + r.a)
    return tanh(x.b + r.of(c).b), c


@invent(gates="ab", state="hc")
def matmul_of_another_state(x, r, h, c):
    c_new = sigmoid(x.a + r.of(c).a)
    return tanh(x.b + r.b) * c, c_new


@invent(gates="abc", state="h")
def matmul_of_an_activation(x, r, h):
    a = tanh(x.a + r.a)
    b = sigmoid(r.of(a).b)
    return x.c + r.of(b).c + b * x.b


@invent(gates="ab", state="h")
def matmul_of_an_input(x, r, h):
    return tanh(x.b + r.of(x.a).b) + tanh(x.a)


@invent(gates="ab", state="h")
def matmul_of_a_sum(x, r, h):
    return tanh(x.b + r.of(x.a + r.a).b)


@invent(gates="ab", state="h", parameters={"start": "s"})
def matmul_of_a_parameter(x, r, h, start):
    return tanh(x.a + r.a + x.b * r.of(start.s).b)


@invent(gates="ab", state="hc")
def output_not_carried(x, r, h, c):
    c = tanh(x.a + r.of(c).a)
    return sigmoid(x.b + r.of(c).b) * c, c


@invent(gates="abc", state="h")
def gate_without_recurrent_side(x, r, h):
    return tanh(x.a + r.a) * sigmoid(x.b) + x.c


@invent(gates="abc", state="h")
def gate_without_input_side(x, r, h):
    return tanh(x.a + r.a) * sigmoid(r.b) + r.c


@invent(gates="ab", state="h", parameters={"unused": "uv", "half": "st"})
def unused_parameters(x, r, h, unused, half):
    return tanh(x.a + r.a) * half.t


@invent(gates="abc", state="hmn")
def three_parts(x, r, h, m, n):
    m_new = sigmoid(x.a + r.a) * m + n
    n_new = tanh(x.b + r.b) - n * h
    return tanh(m_new * n_new + r.c) * x.c, m_new, n_new


@invent(gates="h", state="hpq")
def delay_line(x, r, h, p, q):
    return tanh(x.h + r.h + 0.5 * q), h, p


@invent(gates="h", state="hk")
def constant_state(x, r, h, k):
    return tanh(x.h + r.h) * k, k


@invent(gates="h", state="hc")
def twice_the_same_state(x, r, h, c):
    new = tanh(x.h + r.h) - c
    return new, new


@invent(gates="a", state="hc")
def state_without_gradient_path(x, r, h, c):
    return tanh(x.a + r.a), tanh(x.a)


@invent(gates="h", state="h")
def linear(x, r, h):
    return x.h + r.h


@invent(gates="ab", state="hc")
def linear_pair(x, r, h, c):
    return x.a + r.a, x.b


@invent(gates="h", state="h")
def linear_with_separate_sides(x, r, h):
    return r.h + tanh(x.h)


@invent(gates="if", state="h")
def two_gates_in_one_sum(x, r, h):
    return tanh((x.i + r.i) + (x.f + r.f))


@invent(gates="abcd", state="h")
def runs_that_are_not_adjacent(x, r, h):
    a, c = sigmoid(x.a + r.a), sigmoid(x.c + r.c)
    return a * tanh(x.b + r.of(c * h).b) + c * tanh(x.d + r.of(c * h).d)


@invent(gates="abcd", state="h")
def separate_adjacent_gates(x, r, h):
    a, d = sigmoid(x.a + r.a), sigmoid(x.d + r.d)
    return tanh(x.b + a * r.b) + tanh(x.c + d * r.c)


@invent(gates="abcd", state="h")
def separate_distant_gates(x, r, h):
    b, d = sigmoid(x.b + r.b), sigmoid(x.d + r.d)
    return tanh(x.a + b * r.a) - tanh(x.c + d * r.c)


@invent(gates="ab", state="h")
def input_as_a_factor(x, r, h):
    return sigmoid(x.a + r.a) * x.b + x.b * x.b - h * h


@invent(gates="a", state="h")
def both_sides_used_again(x, r, h):
    return tanh(x.a + r.a) + 0.5 * x.a - r.a * r.a


@invent(gates="ab", state="hc", parameters={"peep": "a"})
def new_state_used_again(x, r, h, c, peep):
    c = relu(x.a + r.a + peep.a * c)
    return sigmoid(c * c + peep.a) * tanh(x.b + r.b + c) + h + h, c


@invent(gates="AB", state="Hy", parameters={"v": "VW"})
def letters_of_all_kinds(x, r, h, y, v):
    return tanh(x.A + r.A) * v.V - y, sigmoid(x.B + r.B) * v.W - h


@invent(gates="fh", state="h", stop_gradient="h")
def stopped_output(x, r, h):
    return minimal_gated.equations(x, r, h)


@invent(gates="abc", state="hmn", stop_gradient="mh")
def stopped_parts(x, r, h, m, n):
    return three_parts.equations(x, r, h, m, n)


@invent(gates="h", state="hpq", stop_gradient="p")
def stopped_delay_line(x, r, h, p, q):
    return delay_line.equations(x, r, h, p, q)


@invent(gates="ab", state="h")
def shared_gradient(x, r, h):
    return tanh(x.a + (x.b + r.b)) + sigmoid(x.a * 2)


def outputs_and_gradients(executor: Executor, cell: Cell, weights: Weights, x: Tensor, state: State) -> list[Tensor]:
    """As in test_laws, with zeros for missing gradients: some of these cells do not use a side of a gate."""
    y, new = executor.run(cell, weights, x, state)
    generator = torch.Generator().manual_seed(1)
    loss = sum((t * torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device)).sum() for t in (y, *new))
    inputs = leaves(weights, x, state)
    first, second = (
        torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second)), "a second backward pass gives different gradients"
    return [y, *new, *first]


SHAPES = [(4, 3, 5, 2), (1, 1, 1, 1)]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("cell", INVENTED, ids=lambda c: c.name)
@pytest.mark.few(12)
def test_triton_agrees_with_reference(cell):
    weights, x, state = make(cell, (3, 2, 5, 2), device=device_of("triton"))
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    actual = outputs_and_gradients(executors()["triton"], cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", INVENTED, ids=lambda c: c.name)
@pytest.mark.few(140)
def test_eager_agrees_with_reference(cell, shape, ids, bias):
    weights, x, state = make(cell, shape, bias=bias, ids=ids)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    actual = outputs_and_gradients(executors()["eager"], cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("shape", [(4, 3, 37, 2), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "cell",  # compiling takes most of the time
    [pytest.param(c, marks=() if n % 6 == 0 else pytest.mark.slow) for n, c in enumerate(INVENTED)],
    ids=lambda c: c.name,
)
def test_cpp_agrees_with_reference(cell, shape, ids, bias):
    compiled = kernels(cell, torch.float32)
    assert not isinstance(compiled, str), compiled
    weights, x, state = make(cell, shape, bias=bias, ids=ids, dtype=torch.float32)
    with torch.no_grad():
        weights.weight_hh.mul_(0.3)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    actual = outputs_and_gradients(executors()["cpp"], cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        assert torch.linalg.norm(f - e) <= 1e-5 * torch.linalg.norm(e) + 1e-5


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("cell", [*INVENTED, *CELLS.values()], ids=lambda c: c.name)
def test_single_steps_agree_with_reference(cell, bias):
    weights, ids, state = make(cell, (5, 3, 4, 6), bias=bias, ids=True)
    with torch.no_grad():
        expected, last = executors()["reference"].run(cell, weights, ids, state)
        step = Step(cell, weights, 3, weights.weight_hh.dtype)
        step.state = state
        table = step.table(weights.weight_ih)
        for t, ids_t in enumerate(ids):
            step.values.copy_(table[ids_t])
            torch.testing.assert_close(step(), expected[t])
        for actual, part in zip(step.state, last, strict=True):
            torch.testing.assert_close(actual, part)


def test_order_of_the_per_unit_parameters_does_not_matter():
    cell = every_operator
    weights, x, state = make(cell, (4, 3, 5, 2))
    reordered = replace(weights, parameters=dict(reversed(weights.parameters.items())))
    for name in ("reference", "eager"):
        expected, actual = (outputs_and_gradients(executors()[name], cell, w, x, state) for w in (weights, reordered))
        assert torch.equal(actual[0], expected[0])
