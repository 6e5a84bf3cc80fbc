"""The score of a sample of a text, as an estimate of that of the text."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from charlstm.evaluation.score import Score, block_error
from charlstm.text.documents import Direction, Documents, Sequences


def score_of_sample(
    nats: npt.NDArray[np.float32], sample: Documents, characters: int, vocabulary_size: int, direction: Direction
) -> Score:
    """The score of a sample, with its standard error as an estimate of the score of the text.

    With y_k the sum of -ln p over stretch k of S, n_k its characters, n = n_1 + ... + n_S, r the mean y / n, and N the
    characters of the text, the standard error is that of a ratio estimate from clusters (Cochran 1977, section 9A.1)

        sqrt((1 - n / N) S / (S - 1) sum_k (y_k - r n_k)^2) / n

    None for a single stretch. It is that of S stretches at random places; evenly spread ones represent a text somewhat
    better.

    Args:
        nats: -ln p of each character of the sample, as :func:`charlstm.evaluation.nats_per_character` returns it.
        sample: stretches of a running text, or whole documents.
        characters: N.
    """
    counts = Sequences(sample, vocabulary_size, direction).counts
    stretches, n, exact = len(counts), int(counts.sum()), nats.astype(np.float64)
    mean = float(exact.mean())
    sums = np.bincount(np.repeat(np.arange(stretches), counts), exact, stretches)
    error = None
    if stretches > 1:
        squares = float(((sums - mean * counts) ** 2).sum())
        error = math.sqrt(max(0.0, 1 - n / characters) * stretches / (stretches - 1) * squares) / n
    return Score(mean, n, direction == "bidirectional", characters, error, block_error(nats))
