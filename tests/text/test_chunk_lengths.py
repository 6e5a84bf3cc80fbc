"""Random lengths of chunks: their distribution, and streams that are cut by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.text.chunk_lengths import chunk_bounds, longest_chunk
from charlstm.text.streams import IGNORE, Streams

V = 50


def test_lengths_have_the_distribution_of_awd_lstm():
    """Merity et al. 2018: normal around T with probability 0.95, else around T / 2; with their T = 70 and s = 5."""
    bounds = chunk_bounds(1_000_000, 70, 5, 1, 0)
    assert (bounds[0], bounds[-1]) == (0, 1_000_000)
    lengths = np.diff(bounds)[:-1]
    is_half = lengths < 52
    assert is_half.mean() == pytest.approx(0.05, abs=0.006)
    for center, part in ((70, lengths[~is_half]), (35, lengths[is_half])):
        assert part.mean() == pytest.approx(center - 0.5, abs=0.6)  # rounded down
        assert part.std() == pytest.approx(5, abs=0.5)
        assert np.mean(np.abs(part - center + 0.5) < 5) == pytest.approx(0.683, abs=0.04)
    assert lengths.max() <= longest_chunk(70, 5) == 90


def test_lengths_are_bounded_and_depend_on_the_seeds():
    lengths = np.diff(chunk_bounds(30_000, 8, 2, 1, 0))[:-1]
    assert lengths.min() == 5
    assert 13 <= lengths.max() <= longest_chunk(8, 2) == 16
    bounds = [tuple(chunk_bounds(500, 20, 3, *seeds)) for seeds in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert bounds[0] == bounds[1]
    assert len(set(bounds)) == 3
    assert list(chunk_bounds(40, 20, 0)) == [0, 20, 40]
    assert list(chunk_bounds(41, 20, 0)) == [0, 20, 40, 60]
    assert list(chunk_bounds(3, 20, 4, 1, 0)) == [0, 3]


@pytest.mark.parametrize("reverse", [False, True])
def test_every_character_is_a_target_once_per_epoch(reverse):
    text = np.random.default_rng(1).integers(0, V, 1003)
    streams = Streams(text, V, 4, 12, reverse, length_std=3, seed=1)
    resident = Streams(text, V, 4, 12, reverse, length_std=3, seed=1)
    resident.to_device(torch.device("cpu"))
    read, expected, cuts = text[::-1] if reverse else text, [1003 * b // 4 for b in range(5)], set()
    for epoch in range(3):
        count, batches = streams.steps_per_epoch, []
        for position in range(count):
            assert (streams.epoch, streams.position) == (epoch, position)
            resumed = Streams(text, V, 4, 12, reverse, length_std=3, seed=1)
            resumed.load_state_dict(streams.state_dict())
            assert resumed.progress == streams.progress
            batches.append(streams.next_batch())
            for other in (resumed.next_batch(), resident.next_batch()):
                for name in ("previous", "targets", "following"):
                    assert torch.equal(getattr(other, name), getattr(batches[-1], name))
                assert (other.count, other.reset_state) == (batches[-1].count, position == 0)
        targets, previous = (torch.cat([getattr(b, name) for b in batches]) for name in ("targets", "previous"))
        for b in range(4):
            column = targets[:, b][targets[:, b] != IGNORE]
            assert (column.numpy() == read[expected[b] : expected[b + 1]]).all()
            assert (previous[1:, b][targets[1:, b] != IGNORE].numpy() == column[:-1].numpy()).all()
        assert sum(batch.count for batch in batches) == 1003
        cuts.add(tuple(len(batch.targets) for batch in batches))
    assert len(cuts) == 3


@pytest.mark.parametrize(("n", "ignored"), [(200, 11), (11, 10)])
def test_washout_is_whole_with_a_short_first_chunk(n, ignored):
    """As many targets as asked for do not count, in each epoch; of a text that is not longer, the last one counts."""
    for seed in range(40):
        streams = Streams(np.zeros(n, np.uint8), V, 2, 12, washout=11, length_std=3, seed=seed)
        while streams.epoch < 2:
            is_first, batch = streams.position == 0, streams.next_batch()
            assert not is_first or (batch.targets[:, 0] == IGNORE).sum() == ignored
            assert 0 < len(batch.targets) <= streams.longest_chunk
            assert batch.count == (batch.targets != IGNORE).sum() > 0
