"""A model's prediction at every position of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.evaluation.score import per_character
from charlstm.model import LanguageModel
from charlstm.model.head_loss import nats_and_hits


@dataclass(frozen=True)
class TokenPredictions:
    """Predictions at each of the N positions of a text, given the characters before it.

    nats          -ln p of the actual character, [N]
    correct       whether it was the most probable one, [N]
    """

    nats: npt.NDArray[np.floating]
    correct: npt.NDArray[np.bool_]


def predict_tokens(model: LanguageModel, ids: npt.NDArray[np.integer]) -> TokenPredictions:
    """The predictions of a forward model for a text ids [N], encoded as for
    :func:`charlstm.evaluation.nats_per_character`.

    Raises UserError for a model of another direction, which has seen the characters that follow.
    """
    if model.direction != "forward":
        raise UserError(f"predicting each character needs a model with direction: forward, found {model.direction}")
    head = model.head
    stats = per_character(model, ids, lambda y, targets: nats_and_hits(y, head.weight, head.bias, targets), (2,))
    return TokenPredictions(stats[:, 0], stats[:, 1] == 1)
