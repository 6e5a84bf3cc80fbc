"""What a job is, and what every pool that runs jobs does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Stopped(Exception):  # noqa: N818 (it is not an error)
    """A stop was requested: the runs in training have been saved."""


class Control:
    """The requests to a job while it works, and its way to report to the pool. This one requests nothing."""

    def should_stop(self) -> bool:
        """Whether to save and end now."""
        return False

    def should_save(self) -> bool:
        """Whether a checkpoint was requested since the last call."""
        return False

    def report(self, event: object, may_be_dropped: bool = False) -> None:
        """Hand a small dataclass to ``on_event`` of `Pool.do`, in the pool's process.

        may_be_dropped: the event is one of many, some of which are enough.
        """


class Job(Protocol):
    """A piece of work that stores its result in files, so that any process can do it, and a stopped one resumes.

    Where a pool has several processes, a job is pickled.
    """

    @property
    def label(self) -> str:
        """The name of the job in messages."""
        ...

    @property
    def key(self) -> Path:
        """The path that identifies the job."""
        ...

    def done(self) -> bool:
        """Whether its result is complete."""
        ...

    def work(self, control: Control) -> bool:
        """Do the job, from where it was stopped. Returns False if it was stopped before its end."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)
OnEvent = Callable[[AnyJob, Any], None]


class Pool(ABC):
    """Runs jobs. A context manager: at its end, jobs that still run are asked to stop, and have stopped, unless
    SystemExit ended it: a second signal exits at once."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.request_stop()

    @staticmethod
    def _waits(raised: Sequence[object]) -> bool:
        """Whether :meth:`__exit__` waits for jobs that still run, after what it was given."""
        return not any(isinstance(error, SystemExit) for error in raised)

    @abstractmethod
    def request_stop(self) -> None:
        """Save the runs in training and start no more jobs. Can be called from a signal handler."""

    @abstractmethod
    def request_save(self) -> None:
        """Save the runs in training, and continue. Can be called from a signal handler."""

    def do(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None = None) -> Iterator[AnyJob]:
        """Run the jobs that are not done, and yield each job when it is done.

        on_event: called, in this thread, with a job and an event that it has reported.

        Raises Stopped on a stop request, UserError if a worker was killed, and whatever a job raises.
        """
        pending = []
        for job in {job.key: job for job in jobs}.values():
            if job.done():
                yield job
            else:
                pending.append(job)
        for job, is_complete in self._run(pending, on_event):
            if is_complete:
                yield job
        if self._stop_requested():
            raise Stopped

    @abstractmethod
    def _run(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None) -> Iterator[tuple[AnyJob, bool]]:
        """Run the jobs, and yield each with what `Job.work` returned. After a stop request, jobs may be left out."""

    @abstractmethod
    def _stop_requested(self) -> bool: ...
