"""Numeric gradients for every cell, and torch.nn where torch has the cell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from charlstm.cells import CELLS, Cell
from charlstm.executors import Weights, executors


def example(
    cell: Cell, steps: int, batch: int, inputs: int, hidden: int
) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(3)

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).mul_(0.7).requires_grad_()

    weights = {name: leaf(*size) for name, size in cell.parameter_shapes(inputs, hidden).items()}
    return weights, leaf(steps, batch, inputs), [leaf(batch, hidden) for _ in cell.state]


def as_weights(cell: Cell, values: dict[str, Tensor]) -> Weights:
    return Weights(
        **{n: v for n, v in values.items() if n not in cell.parameters},
        parameters={n: values[n] for n in cell.parameters},
    )


@pytest.mark.parametrize("executor", ["reference", "eager"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
def test_gradients_pass_gradcheck_with_initial_state(cell, executor):
    # with a stopped gradient, only one step from a given state can be checked numerically
    weights, x, state = example(cell, 1 if cell.stop_gradient else 3, 2, 2, 2)
    for s, part in zip(cell.state, state, strict=True):
        part.requires_grad_(s not in cell.stop_gradient)

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(weights, leaves, strict=False))
        x, *state = leaves[len(parameters) :]
        y, new = executors()[executor].run(cell, as_weights(cell, parameters), x, tuple(state))
        return (y, *new)

    assert torch.autograd.gradcheck(function, (*weights.values(), x, *state))


@pytest.mark.parametrize("executor", ["reference", "eager", "vendor"])
@pytest.mark.parametrize("cell", [c for c in CELLS.values() if c.torch], ids=lambda c: c.name)
def test_equal_to_torch_nn_with_the_same_state_dict(cell, executor):
    weights, x, state = example(cell, 6, 3, 4, 5)
    module = getattr(nn, cell.torch)(4, 5, **cell.torch_options).double()
    module.load_state_dict({f"{name}_l0": value.detach() for name, value in weights.items()})
    hx = tuple(s[None] for s in state)
    expected, last = module(x, hx if len(hx) > 1 else hx[0])
    lasts = last if isinstance(last, tuple) else (last,)
    y, new = executors()[executor].run(cell, as_weights(cell, weights), x, tuple(state))
    torch.testing.assert_close(y, expected)
    for a, b in zip(new, lasts, strict=True):
        torch.testing.assert_close(a, b[0])

    def loss(y: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        scale = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
        return (y * scale).sum() + sum(((n + 1) * (p * p).sum() for n, p in enumerate(parts)), torch.zeros(()))

    actual_gradients = torch.autograd.grad(loss(y, new), [*weights.values(), x, *state])
    expected_gradients = torch.autograd.grad(loss(expected, lasts), [*module.parameters(), x, *state])
    for a, b in zip(actual_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(a, b)
