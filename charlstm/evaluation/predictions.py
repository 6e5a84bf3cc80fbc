"""A model's prediction at every position of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.errors import UserError
from charlstm.evaluation.score import OnProgress, per_character
from charlstm.model import LanguageModel
from charlstm.model.head_loss import token_stats


@dataclass(frozen=True)
class TokenPredictions:
    """Predictions at each of the N positions of a text, given the characters before it.

    nats          -ln p of the actual character, [N]
    correct         whether it was the most probable one, [N]
    symbols       ids of the K requested symbols
    symbol_nats   -ln p of each of them at every position, [N, K]
    """

    nats: npt.NDArray[np.floating]
    correct: npt.NDArray[np.bool_]
    symbols: tuple[int, ...]
    symbol_nats: npt.NDArray[np.floating]


def predict_tokens(
    model: LanguageModel,
    ids: npt.NDArray[np.integer],
    symbols: Sequence[int] = (),
    on_progress: OnProgress = lambda _: None,
) -> TokenPredictions:
    """The predictions of a forward model for a text ids [N], encoded as for
    :func:`charlstm.evaluation.nats_per_character`.

    Raises UserError for a model of another direction, which has seen the characters that follow.
    """
    if model.direction != "forward":
        raise UserError(f"predicting each character needs a model with direction: forward, found {model.direction}")
    head = model.head
    symbol_ids = torch.tensor(list(symbols), dtype=torch.int64, device=head.weight.device)
    stats = per_character(
        model,
        ids,
        lambda y, targets: token_stats(y, head.weight, head.bias, targets, symbol_ids),
        (2 + len(symbols),),
        on_progress,
    )
    return TokenPredictions(stats[:, 0], stats[:, 1] == 1, tuple(symbols), stats[:, 2:])
