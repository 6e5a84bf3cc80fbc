"""Several models that predict together: the mixture of their distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.generation.incremental import IncrementalModel
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

MAX_LISTED = 8


@dataclass(frozen=True)
class Mixture:
    """The average of the probabilities of K models: p(c | text) = (1 / K) sum_k p_k(c | text).

    The models may have different cells and sizes, but the same vocabulary and direction, and one device. Raises
    UserError for different directions.
    """

    models: Sequence[LanguageModel]

    def __post_init__(self) -> None:
        directions = sorted({model.direction for model in self.models})
        if len(directions) > 1:
            raise UserError(
                f"models with direction: {' and '.join(directions)} cannot be averaged: they predict different "
                "characters of a text"
            )

    @property
    def direction(self) -> str:
        return self.models[0].direction

    @property
    def vocabulary_size(self) -> int:
        return self.models[0].vocabulary_size

    def initial_state(self, batch_size: int) -> State:
        """The states of all models, one after the other."""
        return tuple(part for model in self.models for part in model.initial_state(batch_size))


Predictor = LanguageModel | Mixture


class IncrementalMixture:
    """A mixture that is run one character at a time, with the interface of
    :class:`~charlstm.generation.incremental.IncrementalModel`. Its ``logits`` are ln p."""

    def __init__(self, mixture: Mixture, batch_size: int = 1) -> None:
        self._parts = [IncrementalModel(model, batch_size) for model in mixture.models]
        self.device = self._parts[0].device
        self.logits = torch.zeros_like(self._parts[0].logits)

    @property
    def state(self) -> State:
        """The states of all models, one after the other."""
        return tuple(part for model in self._parts for part in model.state)

    @state.setter
    def state(self, state: State) -> None:
        begin = 0
        for model in self._parts:
            end = begin + len(model.state)
            model.state = state[begin:end]
            begin = end

    def __call__(self, ids: Tensor) -> Tensor:
        """ln p [B, V] of the characters after ids [B], valid until the next call."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            log_p = torch.stack([model(ids).log_softmax(-1) for model in self._parts])
            torch.logsumexp(log_p, 0, out=self.logits)
            self.logits.sub_(math.log(len(self._parts)))
        return self.logits


Incremental = IncrementalModel | IncrementalMixture


def vocabulary_difference(vocabulary: Vocabulary, other: Vocabulary) -> str:
    """How the other vocabulary differs: "it lacks 'é', 'ü' and adds '#'"; "" if it is equal."""
    if vocabulary.kind != other.kind:
        return f"it reads {other.kind}, not {vocabulary.kind}"
    lacks, adds = (sorted(set(a.symbols) - set(b.symbols)) for a, b in ((vocabulary, other), (other, vocabulary)))
    parts = [f"{verb} {_listed(symbols)}" for verb, symbols in (("lacks", lacks), ("adds", adds)) if symbols]
    return f"it {' and '.join(parts)}" if parts else ""


def _listed(symbols: Sequence[str]) -> str:
    more = len(symbols) - MAX_LISTED
    return ", ".join(map(repr, symbols[:MAX_LISTED])) + (f" and {more:,} more" if more > 0 else "")
