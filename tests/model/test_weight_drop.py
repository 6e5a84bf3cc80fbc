"""Dropout on recurrent matrices."""

from __future__ import annotations

import copy

import pytest
import torch

from charlstm.cells import CELLS, find
from charlstm.model import RecurrentStack
from charlstm.model.weight_drop import WeightDrop

EXECUTORS = ["reference", "vendor", "cpp"]


def test_elements_are_dropped_and_the_others_scaled_up():
    torch.manual_seed(1)
    drop = WeightDrop(0.2)
    dropped = drop("_l0", torch.ones(400, 100))
    assert torch.equal(dropped, drop.masks["_l0"])
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.8])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("cell", "executor"),
    [*((c, "eager") for c in CELLS.values() if not c.is_reservoir), *((find("gru"), e) for e in EXECUTORS)],
    ids=lambda v: getattr(v, "name", v),
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_run_with_the_dropped_matrix_and_train_the_raw_one(cell, executor, bidirectional):
    """One mask for all streams and steps; the other parameters are not dropped."""
    torch.manual_seed(1)
    stack = RecurrentStack(cell, 3, 5, 2, executor=executor, bidirectional=bidirectional, weight_drop=0.4)
    x = torch.randn(6, 2, 3)
    y, state = stack(x)
    plain, masks = copy.deepcopy(stack).eval(), stack.weight_drop.masks
    assert len(masks) == (4 if bidirectional else 2)
    with torch.no_grad():
        for suffix, mask in masks.items():
            assert 0 < (mask == 0).float().mean() < 0.8
            plain.get_parameter(f"weight_hh{suffix}").mul_(mask)
    expected, last = plain(x)
    assert torch.equal(y, expected)
    assert all(map(torch.equal, state, last))
    y.square().sum().backward()
    expected.square().sum().backward()
    for name, p in ((name, p) for name, p in stack.named_parameters() if p.requires_grad):
        gradient = plain.get_parameter(name).grad
        if name.startswith("weight_hh"):
            gradient = gradient * masks[name.removeprefix("weight_hh")]
        assert torch.equal(p.grad, gradient), name
    assert not torch.equal(stack(x)[0], y), "each forward pass draws a mask"


def test_nothing_is_dropped_or_drawn_in_evaluation():
    stack, plain = (RecurrentStack(find("lstm"), 3, 4, executor="eager", weight_drop=p).eval() for p in (0.5, 0.0))
    plain.load_state_dict(stack.state_dict())
    x, before = torch.randn(5, 2, 3), torch.get_rng_state()
    assert torch.equal(stack(x)[0], plain(x)[0])
    assert torch.equal(torch.get_rng_state(), before)
