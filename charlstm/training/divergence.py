"""Detects that a run has diverged, and ends it with advice."""

from __future__ import annotations

import math

from charlstm.checkpoints.counters import LARGEST_LOSS
from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.errors import UserError
from charlstm.executors import refuse_kernels_that_gave_up
from charlstm.training.advice import divergence_advice
from charlstm.training.event_log import EventLog
from charlstm.training.events import Ended
from charlstm.training.state import TrainingState
from charlstm.training.step import TrainingStep

MIN_HIGH_LOSS = 25.0
"""In nats: with Adam's epsilon, a healthy model is at most about 18 nats wrong."""
HIGH_LOSS_STEPS = 100
"""So many steps in succession with a high loss end a run. Plain RNNs with the identity initialization of Le et al.
(2015) recovered from spikes of up to 1e11 nats, most of one to five steps and one of 65, and mostly learned their
task."""


def is_finite_loss(nats: float) -> bool:
    """Whether sums of such losses are finite."""
    return abs(nats) <= LARGEST_LOSS


def is_high_loss(nats: float, symbols: int) -> bool:
    """Whether a loss is far above that of a uniform guess (ln V).

    Where a text switches to symbols that it has hardly used, a healthy model has up to about 18 nats per character,
    however small V is.
    The loss is computed in float32 in either precision, and bfloat16 has the range of float32: the bound is the same.
    """
    return nats > max(MIN_HIGH_LOSS, 3 * math.log(symbols) + 1)


class DivergenceDetector:
    """Detects that a run has diverged: a loss or gradient norm that is not finite, or a high loss that lasts.

    The methods that return an event record the end of the run.
    """

    def __init__(
        self, config: Config, state: TrainingState, step: TrainingStep, group: ProcessGroup, log: EventLog
    ) -> None:
        self._config, self._state, self._step, self._group, self._log = config, state, step, group, log

    def is_high(self, nats: float) -> bool:
        """Whether a loss is so high that its model is not worth a checkpoint."""
        return is_high_loss(nats, self._state.model.vocabulary_size)

    def add_step(self, nats: float, norm: float) -> bool:
        """Whether the loss of the next step, or its gradient norm, shows that the run has diverged."""
        counters = self._state.counters
        counters.high_loss_steps = counters.high_loss_steps + 1 if self.is_high(nats) else 0
        is_finite = is_finite_loss(nats) and math.isfinite(norm)
        return not is_finite or counters.high_loss_steps >= HIGH_LOSS_STEPS

    def is_finite(self) -> bool:
        """Whether the state is finite in all processes, which call it together."""
        return not any(self._group.all_reduce_max(not self._state.is_finite))

    def end_if_not_finite(self) -> Ended | None:
        """The end of the run if its state is not finite in all processes, which call it together."""
        return None if self.is_finite() else self.end()

    def end(self, nats: float | None = None, norm: float | None = None, is_applied: bool = False) -> Ended:
        """End the run with advice; arguments as for :func:`divergence_advice`.

        Raises UserError if a GPU kernel gave up, and not the training diverged.
        """
        if any(self._group.all_reduce_max(refuse_kernels_that_gave_up())):
            raise UserError(
                "a program of the one-kernel loop over time waited in vain for the others, so the loss is not a "
                "number; from now on these loops are CUDA graphs: continue from the last checkpoint with --resume"
            )
        counters = self._state.counters
        steps = counters.high_loss_steps if nats is not None and is_finite_loss(nats) else 1
        arguments = (self._step.precision, counters.step, nats, norm, steps, is_applied)
        advice = divergence_advice(self._config.training, *arguments, self._config.corpus.has_validation)
        return self._log.end("diverged", advice)
