"""Masked spans of the input in training."""

from __future__ import annotations

import itertools

import pytest
import torch

from charlstm.training.input_masking import mask_spans

V = 9


def masked_positions(steps: int, batch: int, fraction: float) -> torch.Tensor:
    """Which characters -1 to ``steps`` are masked, [steps + 2, B]; asserts that both directions agree."""
    text = torch.randint(V, (steps + 2, batch))
    previous, following = mask_spans(text[:-2], text[2:], fraction, V)
    before, after = previous == V, following == V
    assert torch.equal(previous[~before], text[:-2][~before])
    assert torch.equal(following[~after], text[2:][~after])
    assert torch.equal(before[2:], after[:-2])
    return torch.cat([before, after[-2:]])


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_masked_fraction_is_uniform_over_positions(fraction):
    torch.manual_seed(3)
    masked = masked_positions(30, 20_000, fraction).double()
    assert masked.mean() == pytest.approx(fraction, rel=0.1)
    assert (masked.mean(1) - masked.mean()).abs().max() < 0.015


def test_span_lengths_are_uniform():
    torch.manual_seed(4)
    lengths = []
    for column in masked_positions(500, 400, 0.01).t().tolist():
        groups = [(key, len(list(span))) for key, span in itertools.groupby(column)]
        lengths += [length for key, length in groups[1:-1] if key]
    counts = torch.tensor(lengths).bincount(minlength=9)[1:9].double()
    assert max(lengths) <= 16  # two adjacent spans
    assert counts.sum() > 300
    assert ((counts / counts.sum()) - 1 / 8).abs().max() < 0.06


def test_fraction_0_draws_no_random_numbers():
    before = torch.get_rng_state()
    previous = torch.ones(3, 2, dtype=torch.int64)
    assert mask_spans(previous, previous, 0.0, V) == (previous, previous)
    assert torch.equal(torch.get_rng_state(), before)
