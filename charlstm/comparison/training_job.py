"""The job that trains one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from charlstm.comparison.arms import Trial
from charlstm.jobs.base import Control
from charlstm.training.events import Evaluated, Event, Progress, Scoring
from charlstm.training.trainer import Trainer


class Observer(Protocol):
    """Measures a network during its training."""

    def recorder(self, trainer: Trainer) -> Callable[[Event | None], None]:
        """A function to call with each event of the training, and with None after each step."""
        ...


@dataclass(frozen=True)
class TrainingJob:
    """Train one run, and report its events, without samples.

    evaluations_are_results: each evaluation scores the whole validation split, and no sample of the training split.
    """

    trial: Trial
    observer: Observer | None = None
    evaluations_are_results: bool = False

    @property
    def label(self) -> str:
        return self.trial.directory.path.name

    @property
    def key(self) -> Path:
        """The path that identifies the job: the run directory."""
        return self.trial.directory.path

    def done(self) -> bool:
        """Whether the run with these settings needs no more training.

        Raises UserError if it was trained with other settings.
        """
        return self.trial.done

    def work(self, control: Control) -> bool:
        """Train or resume the run; False if it was stopped before its end."""
        with self.trial.directory.writing():
            trainer = self.trial.trainer()
            if self.evaluations_are_results:
                trainer.evaluations.scores_training_split = False
                trainer.evaluations.always_scores_whole_split = True

            record = self.observer.recorder(trainer) if self.observer else None

            def poll() -> None:
                if record:
                    record(None)
                if control.should_stop():
                    trainer.request_stop()
                if control.should_save():
                    trainer.request_save()

            trainer.poll = poll
            trainer.validator.on_scoring = lambda what, fraction: control.report(
                Scoring(what, fraction), may_be_dropped=True
            )
            for event in trainer.run():
                if record:
                    record(event)
                if isinstance(event, Evaluated):
                    event = replace(event, sample="")
                control.report(event, may_be_dropped=isinstance(event, Progress))
        return self.trial.directory.ended != "stopped"
