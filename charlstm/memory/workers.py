"""Run jobs in a pool of processes, or in this process, until all are done or a stop is requested."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from charlstm.errors import UserError
from charlstm.memory.jobs import Job

_stop: Any = None
"""In a worker: shared memory that is nonzero after a stop request."""


class Stopped(Exception):  # noqa: N818 (it is not an error)
    """A stop was requested: the runs in training have been saved."""


class Workers:
    """A pool of single-threaded processes; with ``processes=1``, this process with all its threads.

    For small networks, one run per core is faster than one run on several cores.
    """

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")  # a process with threads must not be forked
        self._stop = context.RawValue("b", 0)  # without a lock, which an interrupted function might hold
        self._pool = ProcessPoolExecutor(processes, context, _start_worker, (self._stop,)) if processes > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._pool is not None:
            self.request_stop()
            self._pool.shutdown(cancel_futures=True)

    def request_stop(self) -> None:
        """Save the runs in training and start no more jobs. Can be called from a signal handler."""
        self._stop.value = 1

    def _should_stop(self) -> bool:
        return bool(self._stop.value)

    def request_save(self) -> None:
        """No effect: each run saves a checkpoint at every evaluation, every few seconds."""

    def do(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Run the jobs that are not done, and yield each job when it is done.

        Raises Stopped on a stop request, UserError if a worker was killed, and whatever a job raises.
        """
        pending = []
        for job in {job.key: job for job in jobs}.values():
            if job.done():
                yield job
            else:
                pending.append(job)
        for job, complete in self._run_here(pending) if self._pool is None else self._run_in_pool(self._pool, pending):
            if complete:
                yield job
        if self._should_stop():
            raise Stopped

    def _run_here(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
        for job in jobs:
            if self._should_stop():
                return
            yield job, job.work(self._should_stop)

    def _run_in_pool(self, pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
        futures: dict[Future[bool], Job] = {pool.submit(_run_job, job): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            try:
                yield job, future.result()
            except BrokenProcessPool:
                if self._should_stop():
                    return
                raise UserError(
                    f"{job.label}: a worker process was killed, perhaps for lack of memory. Try --jobs 1"
                ) from None
            except UserError as error:
                raise UserError(f"{job.label}: {error}") from None


def processes() -> int:
    """The default number of processes: the number of available cores, or 1 with a GPU, which they would share."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(stop: Any) -> None:
    """Initialize a worker: it ignores signals, and exits when its parent does."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_after(wait: Callable[[], None]) -> None:
        wait()
        os._exit(1)

    threading.Thread(target=exit_after, args=(parent.join,), daemon=True).start()


def _run_job(job: Job) -> bool:
    """In a worker: run a job unless a stop was requested. Returns whether it was completed."""
    return not _stop.value and job.work(lambda: bool(_stop.value))
