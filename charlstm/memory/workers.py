"""Jobs done by several processes at once, or by this one, until they are all done or a stop is asked for."""

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
"""In a worker: a shared number that is not zero once a stop was asked for."""


class Stopped(Exception):  # noqa: N818 (it is no error)
    """A stop was asked for: what was being trained is saved."""


class Workers:
    """So many processes of one thread each; one is this process itself, with all its threads.

    Small networks use a second core better for a second run than for their own products.
    """

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")  # a process that has threads is not to be forked
        self._stop = context.RawValue("b", 0)  # without a lock, which a signal could find taken by what it breaks into
        self._pool = ProcessPoolExecutor(processes, context, _begin, (self._stop,)) if processes > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._pool is not None:
            self.request_stop()
            self._pool.shutdown(cancel_futures=True)

    def request_stop(self) -> None:
        """Save what is being trained and do nothing more. Safe to call from a signal handler."""
        self._stop.value = 1

    def _stopping(self) -> bool:
        return bool(self._stop.value)

    def request_save(self) -> None:
        """Nothing: each run saves itself at every evaluation, seconds apart."""

    def do(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Do what is not done yet, and yield each job when it is.

        Raises Stopped, what a job raises, and UserError where a worker was killed.
        """
        waiting = []
        for job in {job.key: job for job in jobs}.values():
            if job.done():
                yield job
            else:
                waiting.append(job)
        for job, complete in self._in_turn(waiting) if self._pool is None else self._at_once(self._pool, waiting):
            if complete:
                yield job
        if self._stopping():
            raise Stopped

    def _in_turn(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
        for job in jobs:
            if self._stopping():
                return
            yield job, job.work(self._stopping)

    def _at_once(self, pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
        futures: dict[Future[bool], Job] = {pool.submit(_work, job): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            try:
                yield job, future.result()
            except BrokenProcessPool:
                if self._stopping():
                    return
                raise UserError(f"{job.label}: a process was killed, for want of memory? Try --jobs 1") from None
            except UserError as error:
                raise UserError(f"{job.label}: {error}") from None


def processes() -> int:
    """One for each core that this process may use; one alone where there is a GPU, which they would have to share."""
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(stop: Any) -> None:
    """A worker obeys its parent alone, and does not outlive it."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(wait: Callable[[], None]) -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, args=(parent.join,), daemon=True).start()


def _work(job: Job) -> bool:
    """In a worker: do a job, unless a stop was asked for. Whether it is done."""
    return not _stop.value and job.work(lambda: bool(_stop.value))
