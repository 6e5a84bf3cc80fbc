"""Truncated back-propagation through time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from charlstm import __version__
from charlstm.checkpoints.compatibility import differences
from charlstm.checkpoints.counters import Counters
from charlstm.config import Config
from charlstm.distributed import SINGLE_PROCESS, ProcessGroup, detect_lost_processes
from charlstm.evaluation import Score
from charlstm.executors import Choice, clear_plan_cache
from charlstm.hardware.device import free_memory, keep_memory, resolve_device, resolve_precision
from charlstm.hardware.out_of_memory import Demand, check_weights, enough_memory
from charlstm.model import LanguageModel
from charlstm.model.language_model import cell_of
from charlstm.optimization import make_optimizer
from charlstm.runs.directory import RunDirectory
from charlstm.runs.metrics import StopReason
from charlstm.text.corpus import Corpus
from charlstm.training.advice import divergence_advice
from charlstm.training.checkpoint_manager import CheckpointManager
from charlstm.training.deferred_metrics import DeferredMetrics, PendingStep, has_diverged
from charlstm.training.events import Ended, Evaluated, Event, Notice, Progress
from charlstm.training.fastest_executor import fastest_executor
from charlstm.training.loader import make_batch_source, training_batches
from charlstm.training.memory_estimate import Batches, demand, memory_estimate, weights_estimate
from charlstm.training.schedule import Schedule
from charlstm.training.state import TrainingState
from charlstm.training.step import TrainingStep
from charlstm.training.stop_control import StopControl
from charlstm.training.validation import ValidationInterruptedError, Validator

RECORDS_PER_EVALUATION = 20


class Trainer:
    """Trains one model on one corpus and keeps its run directory.

    What has to survive a stop is in ``state``; evaluation and sampling touch none of it. The processes of a team have
    one each and go through the same steps, each with its columns of every batch; the first one alone scores and samples
    for all, and the directories of the others write nothing.
    """

    def __init__(
        self, config: Config, corpus: Corpus, directory: RunDirectory, team: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.config, self.corpus, self.directory, self.team = config, corpus, directory, team
        training = config.training
        self.device = resolve_device(training.device, team)
        if team.size > 1 and self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.precision = resolve_precision(
            training.precision, self.device, cell_of(config.model), config.model.executor
        )
        keep_memory()
        with torch.device("meta"):
            model = LanguageModel(config.model, corpus.vocabulary.size)
        asked = Batches(training.batch_size, training.sequence_length)
        weights = demand(weights_estimate(training, model), asked, config.model.hidden_size)
        check_weights(self.device, weights)
        torch.manual_seed(training.seed)
        with enough_memory(self.device, lambda: ("for the weights", weights)):
            self.model = LanguageModel(config.model, corpus.vocabulary.size)
            self.model.to(self.device)
            self.streams = make_batch_source(training_batches(config, corpus), self.device, free_memory(self.device))
            team.check(self.streams.batch_size, training.batch_size)
            columns = team.columns(self.streams.batch_size)
            carried = self.model.initial_state(columns.stop - columns.start)
        # At once: that there is no text for it is better heard of before the training.
        self._held_out = Validator(config, corpus, self.model, team, self._between)
        self.state = TrainingState(
            settings=training,
            model=self.model,
            optimizer=make_optimizer(training, self.model),
            schedule=Schedule(training),
            streams=self.streams,
            carried=carried,
            columns=columns,
        )
        self.step = TrainingStep(training, self.model, self.state.optimizer, self.precision, team)
        self.figures = DeferredMetrics(self.device)
        self._norm = self._passed = 0.0
        self._executor_chosen = False
        self._keeper = CheckpointManager(config, corpus, directory, team, self.state)
        self._requests = StopControl(team)
        self._notices: list[Notice] = []

    @property
    def counters(self) -> Counters:
        """The run's numbers so far."""
        return self.state.counters

    def request_stop(self) -> None:
        """Save and end after the step in hand, or amid an evaluation, which is then made again on resume.

        Safe to call from a signal handler.
        """
        self._requests.stop_here = True

    def request_save(self) -> None:
        """Save after the step in hand, or amid an evaluation (of a team, after it), and go on.

        Safe to call from a signal handler.
        """
        self._requests.save_here = True

    @property
    def progress(self) -> float:
        """The share of the budget that is used, 0 to 1: the largest over its limits."""
        budget = self.config.training.budget
        shares = [
            (self.counters.step, budget.steps),
            (self.streams.progress, budget.epochs),
            (self.counters.seconds, None if budget.minutes is None else 60 * budget.minutes),
        ]
        return min(1.0, max(used / limit for used, limit in shares if limit is not None))

    def run(self) -> Iterator[Event]:
        """Train to the end of the budget, yielding an event after each step, or some steps of a GPU, and evaluation;
        :class:`Ended` comes last. Raises UserError if the memory does not suffice: what was saved stays."""
        self.precision = self.step.precision = self.team.broadcast_from_rank0(lambda: self.precision)
        self.choose_executor()
        with detect_lost_processes():
            self.step.prepare()
        whole = self.demand()  # now: without memory nothing can be found out any more

        def wanted() -> tuple[str, Demand]:
            if self.counters.evaluation_due:
                return f"in the evaluation after step {self.counters.step:,}", replace(whole, growing=0)
            return f"in step {self.counters.step + 1:,}", whole

        try:
            with enough_memory(self.device, wanted):
                yield from self._events()
        finally:
            clear_plan_cache()

    def _events(self) -> Iterator[Event]:
        if self.streams.notice:
            yield Notice(self.streams.notice)
        if self.counters.step == 0:
            if not self.directory.metrics():
                self.directory.append_metrics({"kind": "start", "step": 0, **self.facts()})
            self.save(best=False)
        while (why := self._over()) is None:
            event = self._evaluate() if self.counters.evaluation_due else self._step()
            if self._requests.save and not isinstance(event, Ended):
                self._save_as_asked()
            yield from self._notices
            self._notices.clear()
            if event is not None:
                yield event
            if isinstance(event, Ended):
                return
        if why == "stopped":
            ended = self._catch_up()
            if ended is None and not self._finite():
                ended = self._ended("diverged", self._advice())
            if ended is not None:
                yield ended
                return
            self.save(best=False)
        yield self._ended(why)

    def _over(self) -> StopReason | None:
        """Why the run ends here, if it does."""
        counters, patience = self.counters, self.config.training.early_stopping
        if not counters.evaluation_due:
            enough = self.config.training.budget.target_nats
            if enough is not None and counters.best_nats is not None and counters.best_nats <= enough:
                return "good_enough"
            if patience is not None and counters.evaluations_without_improvement >= patience:
                return "early_stopping"
            if self.progress >= 1:
                return "budget"
        return "stopped" if self._requests.stop else None

    def _finite(self) -> bool:
        """Whether all numbers are finite, in all processes of the team."""
        return not any(self.team.all_reduce_max(not self.state.finite))

    def _save_as_asked(self) -> None:
        if len(self.figures):  # asked for just now: the next step is read
            return
        self._requests.saving()
        if self._finite():
            self.save(best=False)
            self._notices.append(Notice(f"saved at step {self.counters.step:,}, as asked for"))

    def _between(self) -> None:
        """Called every moment of an evaluation, which touches nothing of what is saved."""
        if self._requests.save:
            self._save_as_asked()
        if self._requests.stop_here:
            raise ValidationInterruptedError

    def _step(self) -> Progress | Ended | None:
        """None where the step's figures are not read yet."""
        start = time.perf_counter()
        training, counters, ahead = self.config.training, self.counters, self.figures.ahead
        rate = self.state.schedule.rate(counters.step, self.streams.progress, self.progress)
        batch = self.streams.next_batch()
        if batch.fresh:
            self.state.carried = tuple(torch.zeros_like(part) for part in self.state.carried)
        figures, carried = self.step.gradients(batch, self.state.carried)
        self.figures.keep(PendingStep(counters.step, counters.characters, batch.count, figures))
        if not ahead and (ended := self._read()) is not None:
            return ended
        self.step.update(rate, figures[1])
        self.state.carried = carried
        counters.step += 1
        counters.characters += batch.count
        self._passed += time.perf_counter() - start
        recorded = counters.step % max(1, training.evaluate_every // RECORDS_PER_EVALUATION) == 0
        counters.evaluation_due = counters.step % training.evaluate_every == 0 or self.progress >= 1
        if ahead:
            wanted = recorded or counters.evaluation_due or self._requests.stop or self._requests.save
            if not (wanted or self.figures.due):
                return None
            if (ended := self._catch_up()) is not None:
                return ended
        else:
            self._agree()
        counters.evaluation_due |= self.progress >= 1
        event = Progress(
            step=counters.step,
            epoch=self.streams.progress,
            nats=counters.sum_nats / counters.sum_count,
            learning_rate=rate,
            gradient_norm=self._norm,
            characters_per_second=(counters.characters - counters.recorded_characters)
            / max(counters.seconds - counters.recorded_seconds, 1e-9),
            fraction=self.progress,
            seconds=counters.seconds,
        )
        if recorded or self.progress >= 1:
            self.directory.append_metrics({"kind": "train", **event.record(), "characters": counters.characters})
            counters.recorded()
        return event

    def _catch_up(self) -> Ended | None:
        """Wait for the steps under way, if any, and read their figures."""
        if not (steps := len(self.figures)):
            return None
        start = time.perf_counter()
        ended = self._read()
        self._passed += time.perf_counter() - start
        self._agree()
        self.figures.set_pace(steps, self.counters.seconds)
        return ended

    def _agree(self) -> None:
        """With the other processes on what was asked for, and on the time: it moves on here alone."""
        self.counters.seconds = self._requests.agree(self.counters.seconds + self._passed)
        self._passed = 0.0

    def _read(self) -> Ended | None:
        """Read the figures of all steps so far. At the first that is bad the run ends, with the step before it."""
        counters = self.counters
        for begun, nats, norm in self.figures.read():
            if self._bad(nats) or not math.isfinite(norm):
                counters.step, counters.characters = begun.steps_before, begun.characters_before
                return self._ended("diverged", self._advice(nats, norm))
            counters.sum_nats += nats * begun.counted
            counters.sum_count += begun.counted
            self._norm = norm
        return None

    def score(self) -> Score:
        """The held-out score of the model as it is; all processes of a team call it."""
        return self._held_out.score()

    def _evaluate(self) -> Evaluated | Ended | None:
        """Score, write a sample, save. None, and nothing has changed, if a stop was asked for meanwhile."""
        counters = self.counters
        try:
            result = self.score()
            if self._bad(result.nats):
                return self._ended("diverged", self._advice(result.nats))
            if not self._finite():
                return self._ended("diverged", self._advice())
            sample = self._held_out.sample(self.config.training.seed + counters.step)
        except ValidationInterruptedError:
            self._agree()
            return None
        improved = counters.best_nats is None or result.nats < counters.best_nats
        if improved:
            counters.best_nats, counters.best_step = result.nats, counters.step
        counters.evaluations_without_improvement = 0 if improved else counters.evaluations_without_improvement + 1
        counters.evaluation_due = False
        self.state.schedule.evaluated(improved)
        event = Evaluated(
            step=counters.step,
            epoch=self.streams.progress,
            nats=result.nats,
            characters_scored=result.characters,
            pseudo=result.pseudo,
            improved=improved,
            best_nats=counters.best_nats or result.nats,
            sample=sample,
        )
        record = event.record(self.corpus.vocabulary.unit)
        place = {"characters": counters.characters, "seconds": counters.seconds}
        self.directory.append_metrics({"kind": "evaluation", "split": "validation", **record, **place})
        if sample:
            self.directory.append_sample(event.step, sample)
        self.save(best=improved)
        return event

    def _bad(self, nats: float) -> bool:
        return has_diverged(nats, self.corpus.vocabulary.size)

    def _advice(self, nats: float | None = None, norm: float | None = None) -> str:
        step, applied = self.counters.step, self.figures.ahead
        return divergence_advice(self.config.training, self.precision, step, nats, norm, applied)

    def _ended(self, why: StopReason, advice: str = "") -> Ended:
        c = self.counters
        self.directory.append_metrics({"kind": "end", "why": why, "step": c.step, "seconds": c.seconds})
        return Ended(why, c.step, c.best_nats, c.best_step, c.seconds, c.characters, advice)

    def facts(self) -> dict[str, Any]:
        """What the run ran on: for the metrics and the checkpoint."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "device": name,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "processes": self.team.size,
            "versions": {"charlstm": __version__, "torch": torch.__version__},
            "parameters": sum(self.model.parameter_counts().values()),
            "executors": self.executors(),
            "preferred": self.model.recurrent.preferred,
        }

    def choose_executor(self) -> None:
        """Have ``model.executor: auto`` take what trains fastest here, by measurement at the first call; after
        :meth:`resume`, what the run began with. Processes that train together take the first in order."""
        if not self._executor_chosen and self.team.size == 1:
            self.model.prefer(
                fastest_executor(self.step, self.model, self.streams.batch_size, self.config.training.sequence_length)
            )
        self._executor_chosen = True

    def memory_estimate(self) -> dict[str, int]:
        """Bytes that each process will take, by purpose."""
        executors = [choice.executor for choice in self.choices()]
        training, device = self.config.training, self.device
        return memory_estimate(training, self.model, self._batches(), executors, device, self.precision)

    def demand(self) -> Demand:
        """The same, by what it depends on."""
        return demand(self.memory_estimate(), self._batches(), self.config.model.hidden_size)

    def _batches(self) -> Batches:
        streams = self.streams
        return Batches(streams.batch_size, streams.sequence_length, self.team.size, streams.bytes_laid)

    def executors(self) -> list[str]:
        """The executor of each layer."""
        return [choice.executor.name for choice in self.choices()]

    def choices(self) -> list[Choice]:
        """For each layer, which executor was chosen and why."""
        training = self.config.training
        share = self.streams.batch_size // self.team.size
        x = torch.zeros(training.sequence_length, share, dtype=torch.int64, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return list(self.model.choices(x))

    def save(self, best: bool) -> None:
        """Write the checkpoint ``last``, and ``best`` too if it is. Raises UserError if it cannot be written."""
        self._keeper.save(self.facts(), best)

    def resume(self) -> list[str]:
        """Go on from the newest checkpoint that is good; from the beginning, if the run did not live to save one.

        Returns what to tell: what was damaged, and what differs from where it was written. Raises UserError if there
        is no good one, or the corpus, the model or a setting that shapes the training is another.
        """
        found = self._keeper.restore()
        if found is None:
            return ["nothing of this run was saved yet: it begins anew"]
        if self.config.training.precision == "auto":
            self.precision = self.step.precision = found.header["precision"]
        self.model.prefer(found.header.get("preferred"))
        self._executor_chosen = True
        step = f"{self.counters.step:,}"
        damaged = [f"{line}; went on from {found.path.name}, step {step}" for line in found.damaged]
        return damaged + differences(found.header, self.facts())
