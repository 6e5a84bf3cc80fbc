"""The job that trains a run to a rung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from charlstm.comparison.training_job import TrainingJob
from charlstm.config.sections import EVALUATIONS
from charlstm.jobs.base import Control
from charlstm.sweep.outcome import read_outcome
from charlstm.training.events import Evaluated, Event
from charlstm.training.trainer import Trainer


@dataclass(frozen=True)
class StopAtRung:
    """Stops a run at its first evaluation after so many tenths of its budget. Its schedule is that of the whole
    budget, and a stopped run is resumed as if it had never been stopped."""

    tenths: int

    def recorder(self, trainer: Trainer) -> Callable[[Event | None], None]:
        def stop_if_reached(event: Event | None) -> None:
            if isinstance(event, Evaluated) and self.tenths <= EVALUATIONS * trainer.progress < EVALUATIONS:
                trainer.request_stop()

        return stop_if_reached


@dataclass(frozen=True)
class RungJob(TrainingJob):
    """Train one run to a rung, or, with ten tenths, to the end of its budget."""

    tenths: int = EVALUATIONS

    def done(self) -> bool:
        """Whether the run with these settings has come as far, or has ended before.

        Raises UserError if it was trained with other settings.
        """
        directory = self.trial.directory
        return (
            self.trial.can_resume and read_outcome(directory, self.trial.config.training).nats(self.tenths) is not None
        )

    def work(self, control: Control) -> bool:
        """Train or resume the run; False if it was stopped before the rung."""
        if self.trial.directory.pruned:  # it was out of the race, and is needed after all
            self.trial.delete()
        super().work(control)
        return self.done()
