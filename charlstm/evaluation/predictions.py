"""What a model expects at every place of a text, before it sees what stands there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.errors import UserError
from charlstm.evaluation.score import per_character
from charlstm.model import LanguageModel
from charlstm.model.head_loss import token_stats


@dataclass(frozen=True)
class TokenPredictions:
    """What is expected at each of the N places of a text, given what stands before it.

    nats          -ln p of the character that stands there, [N]
    right         whether it was the most probable one, [N]
    symbols       ids of K symbols that were asked about
    symbol_nats   -ln p of each of them at every place, [N, K]
    """

    nats: npt.NDArray[np.floating]
    right: npt.NDArray[np.bool_]
    symbols: tuple[int, ...]
    symbol_nats: npt.NDArray[np.floating]


def predict_tokens(
    model: LanguageModel,
    ids: npt.NDArray[np.integer],
    symbols: Sequence[int] = (),
    between: Callable[[], None] = lambda: None,
) -> TokenPredictions:
    """The foresight of a forward model over a text ids [N], which it reads as for
    :func:`charlstm.evaluation.nats_per_character`.

    Raises UserError for a model of another direction: it has seen what follows.
    """
    if model.direction != "forward":
        raise UserError(f"foresight needs a model with direction: forward, found {model.direction}")
    head = model.head
    asked = torch.tensor(list(symbols), dtype=torch.int64, device=head.weight.device)
    found = per_character(
        model,
        ids,
        lambda y, targets: token_stats(y, head.weight, head.bias, targets, asked),
        (2 + len(symbols),),
        between,
    )
    return TokenPredictions(found[:, 0], found[:, 1] == 1, tuple(symbols), found[:, 2:])
