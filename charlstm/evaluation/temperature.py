"""The temperature at which a model predicts a text best."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from charlstm.evaluation.score import OnProgress, Score, Text, per_character
from charlstm.model import LanguageModel
from charlstm.model.head_loss import target_nats

LOWEST, HIGHEST, TEMPERATURES = 0.5, 2.0, 29
"""The search tries temperatures of this range in equal ratios, and then as many between the best one's neighbors."""


def scores_at(
    model: LanguageModel, text: Text, temperatures: list[float], on_progress: OnProgress = lambda _: None
) -> list[Score]:
    """The scores of a text if the logits are divided by each temperature, by one pass over the text; see
    :func:`charlstm.evaluation.score`."""
    weight, bias = model.head.weight, model.head.bias

    def nats(y: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([target_nats(y, weight / t, bias / t, targets) for t in temperatures], -1)

    means = per_character(model, text, nats, (len(temperatures),), on_progress).astype(np.float64)
    return [Score(float(mean), len(means), model.bidirectional) for mean in means.mean(0)]


def tuned_temperature(model: LanguageModel, text: Text, on_progress: OnProgress = lambda _: None) -> float:
    """The temperature from 0.5 to 2 that gives the text the lowest mean -ln p, to 0.5% (Guo et al. 2017)."""
    low, high = LOWEST, HIGHEST
    while True:
        tried = np.geomspace(low, high, TEMPERATURES).tolist()
        nats = [score.nats for score in scores_at(model, text, tried, on_progress)]
        best = int(np.argmin(nats))
        if tried[1] / tried[0] < 1.005:
            return float(tried[best])
        low, high = tried[max(0, best - 1)], tried[min(len(tried) - 1, best + 1)]
