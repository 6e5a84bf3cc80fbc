"""Run jobs in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import torch

from charlstm.errors import UserError
from charlstm.hardware.device import prefer_gpu
from charlstm.jobs.base import AnyJob, Control, Job, OnEvent, Pool

REPORT_INTERVAL = 0.2
"""Seconds between two events of a process that may be dropped, and between two looks at its events."""

_control: _Control
"""In a worker: the requests of its parent."""


class Processes(Pool):
    """Runs ``number`` jobs at a time, each in a process with a single thread.

    For small networks, one run per core is faster than one run on several cores. Several NVIDIA GPUs are given to the
    processes in turn, for jobs whose device is ``auto`` or ``cuda``.
    """

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a process with threads must not be forked
        # Without locks, which an interrupted function might hold.
        self._stop, self._saves = context.RawValue("b", 0), context.RawValue("i", 0)
        self._events = context.SimpleQueue()
        shared = self._stop, self._saves, self._events, context.Value("i", 0)
        self._pool = ProcessPoolExecutor(number, context, _start_worker, shared)

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._pool.shutdown(cancel_futures=True)

    def request_stop(self) -> None:
        self._stop.value = 1

    def request_save(self) -> None:
        self._saves.value += 1

    def _stop_requested(self) -> bool:
        return bool(self._stop.value)

    def _run(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None) -> Iterator[tuple[AnyJob, bool]]:
        by_key = {job.key: job for job in jobs}
        futures: dict[Future[bool], AnyJob] = {
            self._pool.submit(_run_job, job, on_event is not None): job for job in jobs
        }
        if len(jobs) > 1:  # submit() wakes the pool's thread before it starts a process: the last one was not watched
            with suppress(BrokenProcessPool):  # the jobs report it
                self._pool.submit(_do_nothing)
        while futures:
            done, _ = wait(futures, REPORT_INTERVAL if on_event else None, FIRST_COMPLETED)
            while on_event and not self._events.empty():
                key, event = self._events.get()
                on_event(by_key[key], event)
            for future in done:
                job = futures.pop(future)
                try:
                    yield job, future.result()
                except BrokenProcessPool:
                    if self._stop_requested():
                        return
                    raise UserError(
                        f"{job.label}: a worker process was killed, perhaps for lack of memory. Try --jobs 1"
                    ) from None
                except UserError as error:
                    raise UserError(f"{job.label}: {error}") from None


def default_number() -> int:
    """The number of available cores, or with GPUs theirs."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    if torch.backends.mps.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Control(Control):
    """In a worker: requests in memory that it shares with its parent, and events that go there through a pipe."""

    def __init__(self, stop: Any, saves: Any, events: Any) -> None:
        self._stop, self._saves, self._events = stop, saves, events
        self._seen, self._next = saves.value, 0.0
        self.job: Job
        self.reports = False

    def should_stop(self) -> bool:
        return bool(self._stop.value)

    def should_save(self) -> bool:
        before, self._seen = self._seen, self._saves.value
        return bool(self._seen != before)

    def report(self, event: object, may_be_dropped: bool = False) -> None:
        if not self.reports or (may_be_dropped and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + REPORT_INTERVAL
        self._events.put((self.job.key, event))


def _start_worker(stop: Any, saves: Any, events: Any, started: Any) -> None:
    """Initialize a worker: it ignores signals, and exits when its parent does.

    started: the number of workers that were started before.
    """
    global _control
    _control = _Control(stop, saves, events)
    torch.set_num_threads(1)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    prefer_gpu(number)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_after(wait_for_parent: Callable[[], None]) -> None:
        wait_for_parent()
        os._exit(1)

    threading.Thread(target=exit_after, args=(parent.join,), daemon=True).start()


def _do_nothing() -> None:
    """A task that only wakes the pool's thread."""


def _run_job(job: Job, reports: bool) -> bool:
    """In a worker: run a job unless a stop was requested. Returns whether it was completed."""
    _control.job, _control.reports = job, reports
    return not _control.should_stop() and job.work(_control)
