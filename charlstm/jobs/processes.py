"""Run jobs in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]  # pickles its traceback, too
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from charlstm.errors import UserError
from charlstm.hardware.device import prefer_gpu
from charlstm.jobs.base import AnyJob, Control, Job, OnEvent, Pool

REPORT_INTERVAL = 0.2
"""Seconds between two events of a process that may be dropped."""
STOP_INTERVAL = 0.2
"""Seconds between two looks whether a stop was requested."""


@dataclass
class _Worker:
    """A process, the connection to it, the job that it has, and whether it has begun that job: before, it is starting
    or importing what the job needs."""

    process: BaseProcess
    connection: Connection
    job: Any = None
    has_begun: bool = False


class Processes(Pool):
    """Runs ``number`` jobs at a time, each in a process with a single thread.

    For small networks, one run per core is faster than one run on several cores. Several NVIDIA GPUs are given to the
    processes in turn, for jobs whose device is ``auto`` or ``cuda``.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._context = multiprocessing.get_context("spawn")  # a process with threads must not be forked
        # Without locks, which an interrupted function might hold.
        self._stop, self._saves = self._context.RawValue("b", 0), self._context.RawValue("i", 0)
        self._workers: list[_Worker] = []

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        try:
            while self._working() and self._waits(raised):
                with suppress(Exception):  # another error than the first one is left out
                    list(self._run((), None))
        finally:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.process.join()
                worker.connection.close()

    def request_stop(self) -> None:
        self._stop.value = 1

    def request_save(self) -> None:
        self._saves.value += 1

    def _stop_requested(self) -> bool:
        return bool(self._stop.value)

    def _working(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _run(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None) -> Iterator[tuple[AnyJob, bool]]:
        waiting = deque(jobs)
        while True:
            if self._stop_requested():
                self._end_starting()
            else:
                self._hand_out(waiting, on_event is not None)
            if not (working := self._working()):
                return
            ready = wait([worker.connection for worker in working], STOP_INTERVAL)
            for worker in working:
                if worker.connection in ready and (result := self._receive(worker, on_event)) is not None:
                    yield result

    def _hand_out(self, waiting: deque[AnyJob], reports: bool) -> None:
        """Give jobs to the idle workers, and start those that are missing."""
        while waiting:
            worker = next((worker for worker in self._workers if worker.job is None), None)
            if worker is None:
                if len(self._workers) == self._number:
                    return
                worker = self._start()
            worker.job, worker.has_begun = waiting.popleft(), False
            with suppress(OSError):  # it was killed, which reading from it reports
                worker.connection.send((worker.job, reports))

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = theirs, self._stop, self._saves, len(self._workers)
        process = self._context.Process(target=_work, args=arguments)
        process.start()
        theirs.close()  # so that reading from a worker that was killed fails
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _end_starting(self) -> None:
        """End workers that have not begun their jobs: importing torch takes seconds, and nothing is to be saved."""
        for worker in self._working():
            if not worker.has_begun and not worker.connection.poll():
                worker.process.kill()
                worker.job = None

    def _receive(self, worker: _Worker, on_event: OnEvent[AnyJob] | None) -> tuple[AnyJob, bool] | None:
        """Handle one message of a worker. Returns its job, and whether it is complete, if it has ended."""
        job = worker.job
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            worker.job = None
            if self._stop_requested():
                return job, False
            raise UserError(
                f"{job.label}: a worker process was killed, perhaps for lack of memory. Try --jobs 1"
            ) from None
        worker.has_begun = True
        if kind == "event" and on_event is not None:
            on_event(job, content)
        if kind != "end":
            return None
        worker.job = None
        if isinstance(content, UserError):
            raise UserError(f"{job.label}: {content}") from None
        if isinstance(content, BaseException):
            raise content
        return job, content


def default_number() -> int:
    """The number of available cores, or with GPUs theirs."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    if torch.backends.mps.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Control(Control):
    """In a worker: requests in memory that it shares with its parent, and events that go there through a pipe."""

    def __init__(self, connection: Connection, stop: Any, saves: Any) -> None:
        self._connection, self._stop, self._saves = connection, stop, saves
        self._seen, self._next = saves.value, 0.0
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
        self._connection.send(("event", event))


def _work(connection: Connection, stop: Any, saves: Any, number: int) -> None:
    """A worker: does the jobs that it receives, ignores signals, and exits when its parent does.

    number: how many workers were started before.
    """
    torch.set_num_threads(1)
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
    control = _Control(connection, stop, saves)
    job: Job
    while True:
        try:
            job, control.reports = connection.recv()
        except EOFError:  # the parent has closed the connection
            return
        connection.send(("begin", None))
        problem = ""
        try:
            end: object = not control.should_stop() and job.work(control)
        except Exception as error:
            problem, end = repr(error), ExceptionWithTraceback(error, error.__traceback__)
        try:
            connection.send(("end", end))
        except Exception as error:
            connection.send(("end", RuntimeError(f"{problem}, which cannot be pickled: {error}")))
