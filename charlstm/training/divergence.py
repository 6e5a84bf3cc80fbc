"""Detects that a run has diverged, and ends it with advice."""

from __future__ import annotations

import math

from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.training.advice import divergence_advice
from charlstm.training.deferred_metrics import has_diverged
from charlstm.training.event_log import EventLog
from charlstm.training.events import Ended
from charlstm.training.state import TrainingState
from charlstm.training.step import TrainingStep


class DivergenceDetector:
    """Detects that a run has diverged; the methods that return an event record the end of the run."""

    def __init__(
        self, config: Config, state: TrainingState, step: TrainingStep, group: ProcessGroup, log: EventLog
    ) -> None:
        self._config, self._state, self._step, self._group, self._log = config, state, step, group, log

    def has_diverged(self, nats: float, norm: float = 0.0) -> bool:
        """Whether a training or held-out loss, or a gradient norm, shows divergence."""
        return has_diverged(nats, self._state.model.vocabulary_size) or not math.isfinite(norm)

    def is_finite(self) -> bool:
        """Whether the state is finite in all processes, which call it together."""
        return not any(self._group.all_reduce_max(not self._state.is_finite))

    def end_if_not_finite(self) -> Ended | None:
        """The end of the run if its state is not finite in all processes, which call it together."""
        return None if self.is_finite() else self.end()

    def end(self, nats: float | None = None, norm: float | None = None, is_applied: bool = False) -> Ended:
        """End the run with advice; arguments as for :func:`divergence_advice`."""
        arguments = (self._step.precision, self._state.counters.step, nats, norm, is_applied)
        advice = divergence_advice(self._config.training, *arguments, self._config.corpus.has_validation)
        return self._log.end("diverged", advice)
