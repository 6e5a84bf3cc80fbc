from __future__ import annotations

import numpy as np
import pytest

from charlstm.compression import rans
from charlstm.compression.rans import TOTAL, DamagedStreamError, Decoder, encode


def intervals(rng, steps, streams):
    """Random intervals, from a single point to all but one point."""
    sizes = np.minimum(np.exp(rng.uniform(0, np.log(TOTAL), (steps, streams))).astype(np.int64), TOTAL - 1)
    return rng.integers(0, TOTAL - sizes + 1), sizes


def counts_of(steps, streams):
    counts = np.full(steps, streams)
    counts[-1:] = max(1, streams // 2)
    return counts


@pytest.mark.parametrize("streams", [1, 2, 7, 100])
@pytest.mark.parametrize("steps", [0, 1, 2, 300])
def test_decoded_points_lie_in_encoded_intervals(steps, streams):
    rng = np.random.default_rng(steps * 1000 + streams)
    starts, sizes = intervals(rng, steps, streams)
    counts = counts_of(steps, streams)
    content = encode(starts, sizes, counts)
    decoder = Decoder(content, streams)
    for start, size, count in zip(starts, sizes, counts, strict=True):
        points = decoder.points()[:count]
        assert ((start[:count] <= points) & (points < start[:count] + size[:count])).all()
        decoder.advance(start[:count], size[:count])
    decoder.check_end()
    bits = sum((rans.PROBABILITY_BITS - np.log2(sizes[t, :n])).sum() for t, n in enumerate(counts))
    assert bits <= 8 * len(content) <= bits + 64 * streams + 1


def test_damaged_words_are_noticed():
    rng = np.random.default_rng(1)
    starts, sizes = intervals(rng, 50, 3)
    content = encode(starts, sizes, counts_of(50, 3))

    def decode(content):
        decoder = Decoder(content, 3)
        for start, size, count in zip(starts, sizes, counts_of(50, 3), strict=True):
            decoder.advance(start[:count], size[:count])
        decoder.check_end()

    decode(content)
    for damaged in (content[:-4], content + bytes(4), content[:20], content[:-1], bytes(len(content))):
        with pytest.raises(DamagedStreamError):
            decode(damaged)
