"""Prints the events of the runs of a comparison, of one run at a time or of several."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from charlstm import console
from charlstm.comparison.training_job import TrainingJob
from charlstm.progress_line import ProgressLine
from charlstm.terminal_layout import Part
from charlstm.training.events import Ended, Event, Progress, Scoring
from charlstm.training_progress import Position, RunProgress, show_event
from charlstm.units import duration

SHOWN = 4
"""Runs that the line about several names; of more, it has only their number."""
TIME_RANK, RUN_RANK, BITS_RANK = 1, 2, 8


class OneByOne:
    """The progress of runs that are trained one after another, each shown as a single run is.

    Args:
        jobs: all, in their order.
        later: number of those to train.
        unit: character or byte.
    """

    def __init__(self, jobs: Sequence[TrainingJob], later: int, unit: str) -> None:
        self._numbers = {job.key: number for number, job in enumerate(jobs, start=1)}
        self._later, self._unit = later, unit
        self._stack, self._key = ExitStack(), Path()

    def __enter__(self) -> OneByOne:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def show(self, job: TrainingJob, event: Event | Scoring) -> None:
        """Show an event of a run."""
        if job.key != self._key:
            self._stack.close()
            self._later -= 1
            position = Position(self._numbers[job.key], len(self._numbers), self._later)
            progress = RunProgress(_prefix(job), samples=False, unit=self._unit, position=position)
            self._key, self._run = job.key, self._stack.enter_context(progress)
        self._run.show(event)
        if isinstance(event, Ended):
            self._stack.close()
            _note_advice(job, event)


class Several:
    """The progress of several runs at a time: how far each of them is, and the time left for all.

    The arguments are those of :class:`OneByOne`.
    """

    def __init__(self, jobs: Sequence[TrainingJob], later: int, unit: str) -> None:
        self._total, self._later, self._unit = len(jobs), later, unit
        self._running = dict[str, Progress]()
        self._seconds = list[float]()
        """What the runs that have ended took."""
        self._line = ProgressLine()

    def __enter__(self) -> Several:
        self._line.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._line.__exit__(None, None, None)

    def show(self, job: TrainingJob, event: Event | Scoring) -> None:
        """Show an event of a run."""
        if isinstance(event, Progress):
            self._running[job.trial.label] = event
        else:
            show_event(event, _prefix(job), samples=False, unit=self._unit)
        if isinstance(event, Ended):
            self._running.pop(job.trial.label, None)
            self._seconds.append(event.seconds)
            _note_advice(job, event)
        done = self._total - self._later + len(self._seconds) + sum(run.fraction for run in self._running.values())
        self._line.update(done / self._total, self._parts)

    def _parts(self) -> list[Part]:
        """``2 of 6 runs, 2 now: lstm, seed 1 45% 2.113 bits; rnn, seed 1 50% 2.304 bits  3:20 left``"""
        done = self._total - self._later + len(self._seconds)
        parts = [Part(f"{done} of {self._total} runs"), Part(f", {len(self._running)} now", RUN_RANK)]
        for number, (label, run) in enumerate(list(self._running.items())[:SHOWN]):
            parts += [
                Part(f"{'; ' if number else ': '}{label} {run.fraction:.0%}", RUN_RANK + 1 + number),
                Part(f" {run.bits_per_character:.3f} bits", BITS_RANK),
            ]
        left = self._seconds_left()
        return [*parts, Part("" if left is None else f"  {duration(left)} left", TIME_RANK)]

    def _seconds_left(self) -> float | None:
        """The time left for all runs, as many at a time as now, each as long as the mean of those that have begun."""
        running = [run for run in self._running.values() if run.fraction > 0]
        lengths = [*self._seconds, *(run.seconds / run.fraction for run in running)]
        if not running:
            return None
        waiting = self._later - len(self._seconds) - len(self._running)
        of_running = [run.seconds_left for run in running]
        return max(*of_running, (sum(of_running) + waiting * statistics.fmean(lengths)) / len(running))


def _prefix(job: TrainingJob) -> str:
    return f"[{job.trial.label}] "


def _note_advice(job: TrainingJob, ended: Ended) -> None:
    if ended.stop_reason == "diverged":
        console.note(f"{_prefix(job)}{ended.advice}")
