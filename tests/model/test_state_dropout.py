"""Dropout on what the recurrent matmuls read."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from charlstm.cells import CELLS, find
from charlstm.executors.reference import Reference
from charlstm.model import RecurrentStack
from charlstm.model.dropout import part_of_batch
from charlstm.model.state_dropout import NAME, StateDropout

COMPILED = ["cpp", *(["triton"] if find_spec("triton") else [])]  # the latter interpreted where there is no GPU


@pytest.mark.parametrize(
    ("cell", "executor"),
    [*((c, "eager") for c in CELLS.values() if not c.is_reservoir), *((find("lstm"), e) for e in COMPILED)],
    ids=lambda v: getattr(v, "name", v),
)
def test_recurrent_matmuls_read_the_masked_state(cell, executor):
    """As for each text a recurrent matrix without the columns of its dropped units, in all steps."""
    torch.manual_seed(1)
    stack = RecurrentStack(cell, 4, 5, executor=executor, state_dropout=0.4)
    x = torch.randn(6, 3, 4)
    initial = tuple(torch.randn(1, 3, 5, requires_grad=True) for _ in cell.state)
    torch.manual_seed(3)
    y, state = stack(x, initial)
    torch.manual_seed(3)
    mask = stack.state_dropout.with_masks(stack.weights(), 6, 3).parameters[NAME]
    assert (mask == mask[0]).all()
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert not torch.equal(mask[0, 0], mask[0, 1])
    outputs, ends = [], []
    for b in range(3):
        weights = stack.weights()
        weights = replace(weights, weight_hh=weights.weight_hh * mask[0, b])
        one = Reference().run(cell, weights, x[:, b : b + 1], tuple(part[0, b : b + 1] for part in initial))
        outputs.append(one[0])
        ends.append(one[1])
    expected = torch.cat(outputs, 1)
    last = [torch.cat(parts) for parts in zip(*ends, strict=True)]
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    for part, reference in zip(state, last, strict=True):
        torch.testing.assert_close(part[0], reference, rtol=1e-4, atol=1e-5)
    leaves = [p for p in stack.parameters() if p.requires_grad] + list(initial)
    actual, wanted = (
        torch.autograd.grad(out.sum() + sum((s**2).sum() for s in end), leaves, materialize_grads=True)
        for out, end in ((y, state), (expected, last))
    )
    for a, b in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_evaluation_runs_the_plain_cell_and_draws_nothing():
    stack, plain = (RecurrentStack(find("lstm"), 3, 4, executor="vendor", state_dropout=p).eval() for p in (0.5, 0.0))
    plain.load_state_dict(stack.state_dict())
    x, before = torch.randn(5, 2, 3), torch.get_rng_state()
    assert torch.equal(stack(x)[0], plain(x)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_part_of_batch_has_the_masks_of_the_whole():
    dropout, weights = StateDropout(find("gru"), 0.3), RecurrentStack(find("gru"), 3, 8).weights()
    torch.manual_seed(3)
    whole = dropout.with_masks(weights, 4, 6).parameters[NAME]
    torch.manual_seed(3)
    with part_of_batch(slice(2, 6), 6):
        assert torch.equal(dropout.with_masks(weights, 4, 4).parameters[NAME], whole[:, 2:6])
