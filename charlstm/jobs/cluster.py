"""Run jobs on the workers of a Dask cluster."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from distributed import Client, KilledWorker
from distributed.protocol.pickle import loads

from charlstm import atomic_io
from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular
from charlstm.jobs.base import AnyJob, OnEvent, Pool
from charlstm.jobs.cluster_worker import Outcome, Ticket, check, receive, run_job, versions
from charlstm.paths import path_exists

log = logging.getLogger(__name__)

MARKER = ".cluster"
"""A file in the folder of the runs by which workers show that they see the same folder."""
CONNECT_SECONDS = 30
INTERVAL = 0.2
"""Seconds between two looks at the jobs."""
SLOW_INTERVAL = 2.0
"""Seconds between two messages to all workers, and two looks at their number."""
STOP_SECONDS = 60.0
"""Seconds to wait, after an error, until the runs in training are saved."""


class Cluster(Pool):
    """Runs one job at a time on each worker of a Dask cluster.

    A job whose worker is lost goes on from its last checkpoint at another worker, and so does one that fails for a
    reason of its machine, such as a full disk. Workers save their runs and stop when this process ends, however it
    does, and when the scheduler does.

    Args:
        address: of the scheduler, such as ``tcp://host:8786``, or the path of its scheduler file. Dask's own
            configuration has the settings for ``tls://``.
        folder: absolute, on a file system that all workers share; the jobs store everything in it.

    Raises:
        UserError: the package is missing, no scheduler answers, or a worker is not able to run the jobs.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._stop, self._saves = address, False, 0
        self._futures: dict[Any, Any] = {}
        self._events: SimpleQueue[tuple[Path, object]] = SimpleQueue()
        topic, marker = f"charlstm-{uuid.uuid4().hex}", folder / MARKER
        self._ticket = Ticket(topic, versions(), marker, _marker_content(marker))
        self._sent, self._next, self._has_workers = (False, 0), 0.0, True
        self._client = _connect(address)

    def __enter__(self) -> Cluster:
        try:
            self._wait_for_workers()
            return self
        except BaseException:
            self._close()
            raise

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        try:
            end = time.monotonic() + STOP_SECONDS
            while self._waits(raised) and self._is_running() and time.monotonic() < end:
                self._look_after_workers()
                time.sleep(INTERVAL)
        finally:
            self._close()

    def _is_running(self) -> bool:
        return self._has_workers and any(future.status == "pending" for future in self._futures)

    def _close(self) -> None:
        with suppress(Exception):  # without a scheduler, nothing is left to be told
            self._client.close(timeout=5)

    def request_stop(self) -> None:
        self._stop = True

    def request_save(self) -> None:
        self._saves += 1

    def _stop_requested(self) -> bool:
        return self._stop

    def _wait_for_workers(self) -> None:
        """Wait for at least one worker, and check all. Raises UserError if one cannot run the jobs."""
        if not self._client.nthreads():
            log.info("waiting for the first worker of %s", self._address)
        while not self._client.nthreads() and not self._stop:
            time.sleep(INTERVAL)
        for worker, problem in self._client.run(check, self._ticket, on_error="return").items():
            if isinstance(problem, Exception):
                problem = f"cannot load this version of charlstm: {problem}"
            if problem:
                raise UserError(f"the worker {worker} {problem}")

    def _run(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None) -> Iterator[tuple[AnyJob, bool]]:
        by_key = {job.key: job for job in jobs}
        if on_event is not None:
            self._client.subscribe_topic(self._ticket.topic, lambda event: self._events.put(loads(event[1])))
        self._futures = {self._submit(job, on_event is not None): job for job in jobs}
        failed_at: dict[Path, list[str]] = {}
        while self._futures:
            self._look_after_workers()
            if self._stop and not self._has_workers:
                return
            ended = [future for future in self._futures if future.status != "pending"]
            while on_event is not None and not self._events.empty():
                key, event = self._events.get()
                on_event(by_key[key], event)
            for future in ended:
                job = self._futures.pop(future)
                outcome = self._outcome(future, job)
                if outcome.problem:
                    tried = [*failed_at.get(job.key, ()), outcome.worker]
                    others = [other for other in self._client.nthreads() if other not in tried]
                    problem = f"{job.label}: at the worker {outcome.worker}: {outcome.problem}"
                    if not outcome.is_local or not others or self._stop:
                        raise UserError(problem)
                    log.info("%s; another worker goes on", problem)
                    failed_at[job.key] = tried
                    self._futures[self._submit(job, on_event is not None, others)] = job
                elif not outcome.is_complete and not self._stop:  # its worker is closing
                    self._futures[self._submit(job, on_event is not None)] = job
                else:
                    yield job, outcome.is_complete
            if not ended:
                time.sleep(INTERVAL)

    def _submit(self, job: AnyJob, reports: bool, workers: Sequence[str] | None = None) -> Any:
        ticket = replace(self._ticket, reports=reports)
        key = f"{job.label}-{uuid.uuid4().hex}"
        # Others may do it, too, where none of these is left.
        return self._client.submit(run_job, job, ticket, key=key, workers=workers, allow_other_workers=bool(workers))

    def _outcome(self, future: Any, job: AnyJob) -> Outcome:
        """How a job ended. Raises UserError if the scheduler or several workers are lost, and what the job raised."""
        if future.status in ("cancelled", "lost"):
            raise UserError(
                f"the connection to the Dask scheduler at {self._address} is lost. Its workers save their runs and stop"
            )
        try:
            outcome: Outcome = future.result()
        except KilledWorker as error:
            raise UserError(
                f"{job.label}: {error.allowed_failures + 1} workers that ran it were killed, the last one "
                f"{error.last_worker.address}, perhaps for lack of memory, or by --memory-limit of dask worker"
            ) from None
        return outcome

    def _look_after_workers(self) -> None:
        """Hand requests to all workers, also to those that have come since, and say if none is left."""
        requests = self._stop, self._saves
        if self._client.status != "running" or (requests == self._sent and time.monotonic() < self._next):
            return
        self._sent, self._next = requests, time.monotonic() + SLOW_INTERVAL
        with suppress(OSError):  # a worker that has just ended
            if requests != (False, 0):
                self._client.run(receive, self._ticket.topic, *requests, on_error="ignore")
            had_workers, self._has_workers = self._has_workers, bool(self._client.nthreads())
            if had_workers and not self._has_workers and not self._stop:
                log.info("no worker is left at %s: waiting for one", self._address)


def _connect(address: str) -> Client:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it reports is said in one message here
    where = {"scheduler_file": address} if path_exists(Path(address)) else {"address": address}
    try:
        return Client(**where, timeout=CONNECT_SECONDS, set_as_default=False, name="charlstm")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"--cluster {address}: no Dask scheduler answers: {error}. Start one: dask scheduler"
        ) from error


def _marker_content(marker: Path) -> bytes:
    """The content of the file, which is written unless it exists."""
    try:
        atomic_io.make_directory(marker.parent)
        with suppress(MissingError):
            return read_regular(marker, 100)
        atomic_io.write_atomic(marker, uuid.uuid4().hex.encode())
        return read_regular(marker, 100)
    except OSError as error:
        raise UserError(f"{marker}: cannot write the file: {error.strerror or error}") from error
