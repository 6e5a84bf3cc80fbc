"""What is hidden from a network in training."""

from __future__ import annotations

import itertools

import pytest
import torch

from charlstm.training.input_masking import mask_spans

V = 9


def hidden_places(steps: int, batch: int, share: float) -> torch.Tensor:
    """Which characters -1 to ``steps`` are hidden, [steps + 2, B]; asserts that both sides agree."""
    text = torch.randint(V, (steps + 2, batch))
    previous, following = mask_spans(text[:-2], text[2:], share, V)
    before, after = previous == V, following == V
    assert torch.equal(previous[~before], text[:-2][~before])
    assert torch.equal(following[~after], text[2:][~after])
    assert torch.equal(before[2:], after[:-2])
    return torch.cat([before, after[-2:]])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_about_the_share_is_hidden_everywhere_alike(share):
    torch.manual_seed(3)
    found = hidden_places(30, 20_000, share).double()
    assert found.mean() == pytest.approx(share, rel=0.1)
    assert (found.mean(1) - found.mean()).abs().max() < 0.015


def test_runs_of_one_to_eight_are_equally_often():
    torch.manual_seed(4)
    runs = []
    for column in hidden_places(500, 400, 0.01).t().tolist():
        groups = [(key, len(list(run))) for key, run in itertools.groupby(column)]
        runs += [length for key, length in groups[1:-1] if key]
    counts = torch.tensor(runs).bincount(minlength=9)[1:9].double()
    assert max(runs) <= 16  # two that meet
    assert counts.sum() > 300
    assert ((counts / counts.sum()) - 1 / 8).abs().max() < 0.06


def test_the_share_of_none_draws_nothing():
    before = torch.get_rng_state()
    previous = torch.ones(3, 2, dtype=torch.int64)
    assert mask_spans(previous, previous, 0.0, V) == (previous, previous)
    assert torch.equal(torch.get_rng_state(), before)
