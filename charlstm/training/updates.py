"""The updates of a run: training on the next chunks of the text, and reading the metrics, at once or some at a time."""

from __future__ import annotations

import time

import torch

from charlstm.config import TrainingConfig
from charlstm.training.budget import BudgetProgress
from charlstm.training.captured_steps import CapturedSteps
from charlstm.training.deferred_metrics import DeferredMetrics, PendingStep
from charlstm.training.divergence import DivergenceDetector
from charlstm.training.events import Ended
from charlstm.training.loader import next_chunks
from charlstm.training.state import TrainingState
from charlstm.training.step import TrainingStep
from charlstm.training.stop_control import StopControl


class Updates:
    """Makes updates, counts them and their time, and ends the run at the first that diverged.

    Attributes:
        metrics: the losses and gradient norms that are not read yet.
        gradient_norm: that of the last update that was read.
    """

    def __init__(
        self,
        training: TrainingConfig,
        state: TrainingState,
        step: TrainingStep,
        captured_steps: CapturedSteps,
        divergence: DivergenceDetector,
        budget: BudgetProgress,
        stop_control: StopControl,
        device: torch.device,
    ) -> None:
        self._training, self._state, self._step, self._captured_steps = training, state, step, captured_steps
        self._divergence, self._budget, self._stop_control = divergence, budget, stop_control
        self.metrics = DeferredMetrics(device)
        self.gradient_norm = self._unsynced_seconds = 0.0

    def update(self, rate: float) -> Ended | None:
        """Forward and backward pass and optimizer step. On the CPU, a step that diverged ends the run without an
        update."""
        start = time.perf_counter()
        state, counters = self._state, self._state.counters
        batches = next_chunks(state.streams, self._training.gradient_accumulation)
        count = sum(batch.count for batch in batches)
        if self._training.sequence_length_std:
            rate *= sum(len(batch.targets) for batch in batches) / (len(batches) * state.streams.sequence_length)
        if is_asynchronous := self.metrics.is_asynchronous:
            loss_and_norm, carried = self._captured_steps(batches, state.carried, rate)
        else:
            loss_and_norm, carried = self._step.gradients(self._step.inputs(batches), state.carried)
        self.metrics.append(PendingStep(counters.step, counters.characters, count, loss_and_norm))
        if not is_asynchronous:
            if (ended := self._process_metrics()) is not None:
                return ended
            self._step.set_learning_rate(rate)
            self._step.update(loss_and_norm[1])
        state.carried = carried
        counters.step += 1
        counters.characters += count
        if state.average is not None:
            state.average.update(counters.step)
        self._unsynced_seconds += time.perf_counter() - start
        return None

    def read_pending(self) -> Ended | None:
        """Wait for the pending updates, if any, and read their metrics."""
        if not (steps := len(self.metrics)):
            return None
        start = time.perf_counter()
        ended = self._process_metrics()
        self._unsynced_seconds += time.perf_counter() - start
        self.sync()
        self.metrics.set_pace(steps, self._state.counters.seconds)
        return ended

    def sync(self) -> None:
        """Synchronize requests and training time with the other processes."""
        seconds = self._budget.seconds_after(self._unsynced_seconds)
        self._state.counters.seconds = self._stop_control.sync(seconds)
        self._unsynced_seconds = 0.0

    def _process_metrics(self) -> Ended | None:
        """Read the metrics of all pending updates. The run ends at the first that diverged, with the step before it."""
        counters = self._state.counters
        for pending, nats, norm in self.metrics.read():
            if self._divergence.add_step(nats, norm):
                counters.step, counters.characters = pending.steps_before, pending.characters_before
                return self._divergence.end(nats, norm, self.metrics.is_asynchronous)
            counters.sum_nats += nats * pending.num_targets
            counters.sum_count += pending.num_targets
            self.gradient_norm = norm
        return None
