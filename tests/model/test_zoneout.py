"""Zoneout: masks in training, the expected value in evaluation, by every executor."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from charlstm.cells import CELLS, find
from charlstm.executors.reference import Reference
from charlstm.model import RecurrentStack
from charlstm.model.dropout import part_of_batch
from charlstm.model.zoneout import NAME, Zoneout

COMPILED = ["cpp", *(["triton"] if find_spec("triton") else [])]  # the latter interpreted where there is no GPU
TRAINED = [c for c in CELLS.values() if not c.is_reservoir]


def masks_of(zoneout: Zoneout, weights, seed: int = 3, steps: int = 5, batch: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    return zoneout.with_masks(weights, steps, batch).parameters[NAME]


def by_steps(cell, weights, x, state, d):
    """Zoneout as in Krueger et al. 2017, with masks or expected values d [T, B, H] by letter."""
    outputs = []
    for t in range(len(x)):
        _, new = Reference().run(cell, weights, x[t : t + 1], state)
        state = tuple(
            part.detach() if s in cell.stop_gradient else part for s, part in zip(cell.state, state, strict=True)
        )
        state = tuple(
            d[s][t] * old + (1 - d[s][t]) * value if s in d else value
            for s, old, value in zip(cell.state, state, new, strict=True)
        )
        outputs.append(state[0])
    return torch.stack(outputs), state


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("cell", "executor"),
    [*((c, "eager") for c in TRAINED), *((find("lstm"), e) for e in COMPILED)],
    ids=lambda v: getattr(v, "name", v),
)
def test_state_retains_its_value_where_the_mask_says(cell, executor, training):
    """Outputs, last states and all gradients equal those of single steps of the plain cell."""
    torch.manual_seed(1)
    rates = {s: rate for s, rate in zip("hc", (0.3, 0.6), strict=True) if s in cell.state}
    stack = RecurrentStack(cell, 4, 5, executor=executor, zoneout=rates).train(training)
    x = torch.randn(6, 3, 4)
    initial = tuple(torch.randn(1, 3, 5, requires_grad=True) for _ in cell.state)
    torch.manual_seed(3)
    y, state = stack(x, initial)
    weights = stack.weights()
    d = masks_of(stack.zoneout, weights, steps=6) if training else weights.parameters[NAME].expand(6, 3, -1)
    by_letter = dict(zip(rates, d.chunk(len(rates), -1), strict=True))
    plain = replace(weights, parameters={k: v for k, v in weights.parameters.items() if k != NAME})
    expected, last = by_steps(cell, plain, x, tuple(part[0] for part in initial), by_letter)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    for part, reference in zip(state, last, strict=True):
        torch.testing.assert_close(part[0], reference, rtol=1e-4, atol=1e-5)
    leaves = [p for p in stack.parameters() if p.requires_grad] + list(initial)
    weight = torch.randn(6, 3, 5)
    actual, wanted = (
        torch.autograd.grad((out * weight).sum() + sum((s**2).sum() for s in end), leaves, materialize_grads=True)
        for out, end in ((y, state), (expected, last))
    )
    for a, b in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_masks_differ_by_step_text_and_unit():
    zoneout = Zoneout(find("lstm"), {"h": 0.2, "c": 0.7})
    weights = RecurrentStack(find("lstm"), 3, 20, zoneout={"h": 0.2, "c": 0.7}).weights()
    h, c = masks_of(zoneout, weights, steps=40, batch=30).chunk(2, -1)
    for mask, rate in ((h, 0.2), (c, 0.7)):
        assert mask.unique().tolist() == [0, 1]
        assert mask.mean().item() == pytest.approx(rate, abs=0.02)
        for dimension in range(3):
            assert (mask != mask.narrow(dimension, 0, 1)).any()
    torch.manual_seed(3)
    with part_of_batch(slice(10, 30), 30):
        part = zoneout.with_masks(weights, 40, 20).parameters[NAME]
    assert torch.equal(part, torch.cat([h, c], -1)[:, 10:30])


def test_rates_are_frozen_parameters_and_the_state_dict_is_complete():
    stack = RecurrentStack(find("gru"), 3, 4, executor="eager", zoneout={"h": 0.25})
    assert stack.zoneout_l0.tolist() == [0.25] * 4
    assert not stack.zoneout_l0.requires_grad
    other = copy.deepcopy(stack).eval()
    x = torch.randn(5, 2, 3)
    assert torch.equal(other(x)[0], stack.eval()(x)[0])
    assert stack.weights().parameters.keys() == {NAME}
