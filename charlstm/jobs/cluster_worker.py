"""What the workers of a Dask cluster do: check that they can run jobs, run one, and hear of requests."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from distributed import get_worker
from distributed.protocol.pickle import dumps

from charlstm import __version__
from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular
from charlstm.hardware.environment import set_environment
from charlstm.jobs.base import Control, Job
from charlstm.runs.lock import LockedError

REPORT_INTERVAL = 1.0
"""Seconds between two events of a worker that may be dropped."""
LOCK_PATIENCE = 100.0
"""Seconds to wait for the lock of a run: an NFS server keeps those of a machine that is gone for 90 seconds."""
LOCK_INTERVAL = 0.5


@dataclass(frozen=True)
class Ticket:
    """What the workers have to know of the pool.

    topic: names its events and its requests.
    marker, content: a file, to be seen by all workers, and its content.
    """

    topic: str
    versions: dict[str, str]
    marker: Path
    content: bytes
    reports: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    worker: its address.
    problem: why it failed, empty if it did not.
    is_local: the reason may be the machine, so that another worker can try.
    """

    worker: str
    is_complete: bool = False
    problem: str = ""
    is_local: bool = False


@dataclass
class Requests:
    """The requests of one pool to the jobs of this process."""

    stop: bool = False
    saves: int = 0


_requests: dict[str, Requests] = {}
"""The requests of the pools, by topic."""


def versions() -> dict[str, str]:
    """The versions that must be the same everywhere: jobs are pickled, and results depend on torch."""
    return {
        "charlstm": __version__,
        "torch": torch.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def check(ticket: Ticket, dask_worker: Any) -> str:
    """Why this worker cannot run the pool's jobs, in the words of a user; empty if it can."""
    for name, ours in versions().items():
        if ours != ticket.versions[name]:
            return f"has {name} {ours}, this machine {ticket.versions[name]}: install the same version"
    if (threads := dask_worker.state.nthreads) != 1:
        return f"runs {threads} jobs at a time in one process: start it with --nthreads 1, and --nworkers for several"
    folder = ticket.marker.parent
    try:
        if read_regular(ticket.marker, 100) == ticket.content:
            return ""
    except (MissingError, UserError, OSError):
        pass
    return f"does not see {folder} as this machine does: put the runs on a file system that all share (--runs FOLDER)"


def receive(topic: str, stop: bool, saves: int) -> None:
    """Called on all workers, also while jobs run."""
    requests = _requests.setdefault(topic, Requests())
    requests.stop, requests.saves = stop, saves


def run_job(job: Job, ticket: Ticket) -> Outcome:
    """Do the job, unless it is done by now."""
    worker = get_worker()
    if problem := check(ticket, worker):
        return Outcome(worker.address, problem=problem, is_local=True)
    set_environment()
    torch.set_num_threads(1)
    control = _Control(job, ticket, worker)
    try:
        return Outcome(worker.address, _when_unlocked(job, control))
    except (UserError, OSError, MemoryError) as error:
        return Outcome(worker.address, problem=str(error), is_local=_is_local(error))


def _when_unlocked(job: Job, control: _Control) -> bool:
    """Do the job as soon as no other process writes its run, such as one that the scheduler has lost sight of, which
    saves it and ends."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            if control.should_stop():
                return False
            return job.done() or job.work(control)
        except LockedError:
            if time.monotonic() > end:
                raise
            time.sleep(LOCK_INTERVAL)


def _is_local(error: BaseException | None) -> bool:
    """Whether the machine caused the error, such as a full disk."""
    while error is not None:
        if isinstance(error, OSError | MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Control(Control):
    def __init__(self, job: Job, ticket: Ticket, worker: Any) -> None:
        self._job, self._ticket, self._worker = job, ticket, worker
        self._key = worker.get_current_task()
        self._requests = _requests.setdefault(ticket.topic, Requests())
        self._seen, self._next = self._requests.saves, 0.0

    def should_stop(self) -> bool:
        """Also where nobody waits for the job any more: the worker is closing, since it was told to or has lost its
        scheduler, or the scheduler has lost the client or given the job to another worker."""
        task = self._worker.state.tasks.get(self._key)
        is_wanted = task is not None and task.state != "cancelled"
        return self._requests.stop or not is_wanted or self._worker.status.name not in ("running", "paused")

    def should_save(self) -> bool:
        before, self._seen = self._seen, self._requests.saves
        return self._seen != before

    def report(self, event: object, may_be_dropped: bool = False) -> None:
        if not self._ticket.reports or (may_be_dropped and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + REPORT_INTERVAL
        self._worker.log_event(self._ticket.topic, dumps((self._job.key, event)))
