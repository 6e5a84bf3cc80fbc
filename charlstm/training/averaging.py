"""Averages of the weights over the steps of a run (Polyak & Juditsky 1992)."""

from __future__ import annotations

import copy
from typing import Any

import torch

from charlstm.config import TrainingConfig
from charlstm.model import LanguageModel


class WeightAverage:
    """A copy of a model with the average of its trainable weights, from which scores, samples and ``best`` come.

    Over the t steps since the average started, with the weights w_1 .. w_t after each:
      without ``averaging_decay``  their mean (Polyak & Juditsky 1992).
      with the decay d             sum_k (1 - d) d^(t-k) w_k / (1 - d^t): exponential, with the bias correction of
                                   Kingma & Ba 2015, section 7.2. The initial weights do not count.

    With ``averaging_patience`` n it starts at the first evaluation whose held-out score is worse than the best of all
    evaluations before the latest n (NT-ASGD: Merity et al. 2018, algorithm 1, with any optimizer); else with the first
    step. Until then the average is the weights themselves.
    """

    def __init__(self, training: TrainingConfig, model: LanguageModel) -> None:
        self.model = copy.deepcopy(model)
        self._decay, self._patience = training.averaging_decay, training.averaging_patience
        self._weights, self._averages = (
            [p.detach() for p in one.parameters() if p.requires_grad] for one in (model, self.model)
        )
        self._start: int | None = 0 if self._patience is None else None  # the step after which it started
        self._scores: list[float] = []  # the best score before the latest n, then those

    @property
    def has_started(self) -> bool:
        """Whether the average differs from the weights."""
        return self._start is not None

    def update(self, step: int) -> None:
        """Include the weights after ``step`` steps."""
        torch._foreach_lerp_(self._averages, self._weights, self._fraction(step))

    def _fraction(self, step: int) -> float:
        """The fraction of the latest weights in the average."""
        if self._start is None:
            return 1.0
        count = step - self._start
        return 1 / count if self._decay is None else (1 - self._decay) / (1 - self._decay**count)

    def add_score(self, step: int, nats: float) -> bool:
        """Take the held-out score of the weights after ``step`` steps; returns whether the average starts by it."""
        if self._patience is None or self._start is not None:
            return False
        if len(self._scores) > self._patience and nats > self._scores[0]:
            self._start, self._scores = step, []
            return True
        self._scores.append(nats)
        if len(self._scores) > self._patience + 1:
            self._scores[:2] = [min(self._scores[:2])]
        return False

    def state_dict(self) -> dict[str, Any]:
        """The state without the weights, as JSON values."""
        return {"start": self._start, "scores": list(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state_dict`."""
        self._start, self._scores = state["start"], list(state["scores"])
