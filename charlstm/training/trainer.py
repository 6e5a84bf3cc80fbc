"""Training by truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from charlstm.checkpoints.compatibility import differences
from charlstm.checkpoints.counters import Counters
from charlstm.config import Config
from charlstm.distributed import SINGLE_PROCESS, ProcessGroup, detect_lost_processes
from charlstm.errors import UserError
from charlstm.executors import clear_plan_cache
from charlstm.hardware.device import resolve_device, resolve_precision
from charlstm.hardware.out_of_memory import MemoryEstimate, report_out_of_memory
from charlstm.model.language_model import cell_of
from charlstm.runs.directory import FINISHED, RunDirectory
from charlstm.runs.records import StopReason
from charlstm.text.corpus import Corpus
from charlstm.training.budget import BudgetProgress, finish_reason
from charlstm.training.captured_steps import CapturedSteps
from charlstm.training.checkpoint_manager import CheckpointManager
from charlstm.training.divergence import DivergenceDetector
from charlstm.training.evaluations import Evaluations
from charlstm.training.event_log import EventLog
from charlstm.training.events import Ended, Evaluated, Event, Notice, Progress
from charlstm.training.execution import Execution
from charlstm.training.initial_state import initial_state
from charlstm.training.initial_weights import InitialWeights
from charlstm.training.step import TrainingStep
from charlstm.training.stop_control import StopControl
from charlstm.training.updates import Updates
from charlstm.training.validation import ValidationInterruptedError, Validator


class Trainer:
    """Trains one model on one corpus and writes its run directory.

    ``state`` is all that a resumed run needs; evaluation and sampling do not change it. Each process of a group has a
    trainer and runs the same steps on its columns of every batch; only rank 0 scores, samples and writes files.
    """

    poll: Callable[[], None] | None = None
    """Called after each step and regularly during an evaluation, if it is set; it may request a stop or a save."""

    def __init__(
        self, config: Config, corpus: Corpus, directory: RunDirectory, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.config, self.corpus, self.directory, self.group = config, corpus, directory, group
        training = config.training
        self.device = resolve_device(training.device, group)
        if group.size > 1 and self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        precision = resolve_precision(training.precision, self.device, cell_of(config.model), config.model.executor)
        self.state = initial_state(config, corpus, self.device, group)
        self.model, self.streams = self.state.model, self.state.streams
        # Here, so that an empty validation split is reported before training.
        self.validator = Validator(config, corpus, self.state, group, self._poll_requests)
        self._initial_weights = InitialWeights(config, corpus.vocabulary, self.state, group)
        self.step = TrainingStep(training, self.model, self.state.optimizer, precision, group)
        self.captured_steps = CapturedSteps(
            self.step, self.device, group, lambda text: self._notices.append(Notice(text))
        )
        self.execution = Execution(training, self.state, self.step, self.streams, group)
        self._budget = BudgetProgress(training, self.state)
        self._log = EventLog(directory, self.state, corpus.vocabulary.unit)
        self._divergence = DivergenceDetector(config, self.state, self.step, group, self._log)
        self.evaluations = Evaluations(config, self.state, directory, self.validator, self._divergence, self._log)
        self._checkpoint_manager = CheckpointManager(config, corpus, directory, group, self.state)
        self._stop_control = StopControl(group)
        self.updates = Updates(
            training,
            self.state,
            self.step,
            self.captured_steps,
            self._divergence,
            self._budget,
            self._stop_control,
            self.device,
        )
        self._notices: list[Notice] = []

    @property
    def counters(self) -> Counters:
        """Counters of the run so far."""
        return self.state.counters

    def request_stop(self) -> None:
        """Save and end after the current step, or during an evaluation, which is repeated on resume.

        Safe to call from a signal handler.
        """
        self._stop_control.stop_requested = True

    def request_save(self) -> None:
        """Save after the current step or during an evaluation (with several processes, after it), and continue.

        Safe to call from a signal handler.
        """
        self._stop_control.save_requested = True

    @property
    def progress(self) -> float:
        """The used fraction of the budget, 0 to 1."""
        return self._budget.fraction

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in the current epoch."""
        return -(-self.streams.steps_per_epoch // self.config.training.gradient_accumulation)

    def start(self, overwrite: bool = False) -> None:
        """Create the directory of a new run. Raises UserError, before anything is deleted, if the weights of
        ``training.initial_run`` cannot be read, and as :meth:`charlstm.runs.directory.RunDirectory.create` does."""
        self._initial_weights.take()
        self.directory.create(self.config, overwrite)

    def run(self) -> Iterator[Event]:
        """Train until the budget is used, yielding an event after each step (on a GPU, after some steps) and each
        evaluation; :class:`Ended` comes last. Raises UserError if memory runs out; saved checkpoints remain."""
        self._initial_weights.take()
        self.step.precision = self.group.broadcast_from_rank0(lambda: self.step.precision)
        self.execution.choose_executor()
        with detect_lost_processes():
            self.step.prepare()
        estimate = self.execution.estimate_memory()  # here, since it takes memory itself

        def current_work() -> tuple[str, MemoryEstimate]:
            if self.counters.evaluation_due:
                return f"in the evaluation after step {self.counters.step:,}", replace(estimate, activations=0)
            return f"in step {self.counters.step + 1:,}", estimate

        try:
            with report_out_of_memory(self.device, current_work):
                yield from self._events()
        finally:
            self.captured_steps.clear()
            clear_plan_cache()

    def _events(self) -> Iterator[Event]:
        if self.streams.notice:
            yield Notice(self.streams.notice)
        if self.counters.step == 0:
            facts = {**self.execution.facts(), **self._initial_weights.facts}
            self._log.start({**facts, "corpus_digest": self.corpus.digest})
            self.save(best=False)
        while (stop_reason := self._stop_reason()) is None:
            event = self._evaluate() if self.counters.evaluation_due else self._step()
            if self.poll:
                self.poll()
            if self._stop_control.should_save and not isinstance(event, Ended):
                self._save_on_request()
            yield from self._notices
            self._notices.clear()
            if event is not None:
                yield event
            if isinstance(event, Ended):
                return
        if stop_reason != "stopped":
            try:
                yield from self.evaluations.score_whole_split()
            except ValidationInterruptedError:
                self.updates.sync()
                stop_reason = "stopped"
        if stop_reason == "stopped":
            if (ended := self.updates.read_pending() or self._divergence.end_if_not_finite()) is not None:
                yield ended
                return
            self.save(best=False)
        yield self._log.end(stop_reason)

    def _stop_reason(self) -> StopReason | None:
        """Why the run ends now; None if it continues."""
        if not self.counters.evaluation_due:
            reason = finish_reason(self.config.training, self.counters, self.progress)
            if reason is not None:
                return reason
        return "stopped" if self._stop_control.should_stop else None

    def _save_on_request(self) -> None:
        if len(self.updates.metrics):  # unread steps: wait until the next step has read them
            return
        self._stop_control.clear_save_request()
        if self._divergence.is_finite():
            self.save(best=False)
            self._notices.append(Notice(f"saved at step {self.counters.step:,}, as requested"))

    def _poll_requests(self) -> None:
        """Called regularly during an evaluation, which does not change the saved state."""
        if self.poll:
            self.poll()
        if self._stop_control.should_save:
            self._save_on_request()
        if self._stop_control.stop_requested:
            raise ValidationInterruptedError

    def _step(self) -> Progress | Ended | None:
        """Train on the chunks of one update. Returns None if its metrics are not read yet."""
        counters = self.counters
        rate = self.state.schedule.rate(counters.step, self.streams.progress, self.progress)
        if (ended := self.updates.update(rate)) is not None:
            return ended
        is_recorded = self._budget.advance()
        if self.updates.metrics.is_asynchronous:
            is_requested = self._stop_control.should_stop or self._stop_control.should_save
            if not (is_recorded or counters.evaluation_due or is_requested or self.updates.metrics.is_due):
                return None
            if (ended := self.updates.read_pending()) is not None:
                return ended
        else:
            self.updates.sync()
        fraction = self.progress
        counters.evaluation_due |= fraction >= 1
        return self._log.progress(rate, self.updates.gradient_norm, fraction, is_recorded or fraction >= 1)

    def _evaluate(self) -> Evaluated | Ended | None:
        """Evaluate, and save unless the loss is high. Returns None, with nothing changed, if a stop was requested
        meanwhile."""
        try:
            event, notices = self.captured_steps.beside_graphs(self.evaluations.evaluate)
        except ValidationInterruptedError:
            self.updates.sync()
            return None
        if isinstance(event, Evaluated):
            if not self._divergence.is_high(event.evaluated_nats):
                self.save(event.improved, self._budget.keeps_checkpoint())
            elif self._stop_reason() in FINISHED:
                event = self._divergence.end(event.evaluated_nats)
        self._notices += notices
        return event

    def save(self, best: bool, keep: bool = False) -> None:
        """Write the checkpoint ``last``, also as ``best`` or as one to keep. Raises UserError on failure."""
        if keep:
            self.counters.keep(self.streams.progress)
        self._checkpoint_manager.save(self.execution.facts(), best, keep)

    def resume(self) -> list[str]:
        """Resume from the newest valid checkpoint, or start again if the run has saved none.

        Returns messages for the user: damaged checkpoints, and differences of device, threads or versions. Raises
        UserError if no checkpoint is valid, if the corpus, the model or a setting that must not change has changed, or
        if the run has saved none and the weights of ``training.initial_run`` cannot be read.
        """
        checkpoint = self._checkpoint_manager.restore()
        if checkpoint is None:
            try:
                self._initial_weights.take()
            except UserError as problem:
                path = self.directory.path
                raise UserError(f"{path} has saved no checkpoint, so it starts again: {problem}") from None
            return ["this run has no checkpoint yet: it starts again from step 0"]
        self._initial_weights.skip()
        self.execution.restore(checkpoint.header)
        self._budget.resume()
        step = f"{self.counters.step:,}"
        damaged = [f"{line}; resumed from {checkpoint.path.name}, step {step}" for line in checkpoint.damaged]
        return damaged + differences(checkpoint.header, self.execution.facts())
