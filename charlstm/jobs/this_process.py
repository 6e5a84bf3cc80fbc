"""Run jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from charlstm.jobs.base import AnyJob, Control, OnEvent, Pool


class ThisProcess(Pool):
    """Runs one job at a time, with all threads of this process."""

    def __init__(self) -> None:
        self._stop = self._save = False

    def request_stop(self) -> None:
        self._stop = True

    def request_save(self) -> None:
        self._save = True

    def _stop_requested(self) -> bool:
        return self._stop

    def _run(self, jobs: Sequence[AnyJob], on_event: OnEvent[AnyJob] | None) -> Iterator[tuple[AnyJob, bool]]:
        for job in jobs:
            if self._stop:
                return

            def report(event: object, job: AnyJob = job) -> None:
                if on_event is not None:
                    on_event(job, event)

            yield job, job.work(_Control(self, report))

    def take_save_request(self) -> bool:
        requested, self._save = self._save, False
        return requested


class _Control(Control):
    def __init__(self, pool: ThisProcess, report: Callable[[object], None]) -> None:
        self._pool, self._report = pool, report

    def should_stop(self) -> bool:
        return self._pool._stop_requested()

    def should_save(self) -> bool:
        return self._pool.take_save_request()

    def report(self, event: object, may_be_dropped: bool = False) -> None:
        del may_be_dropped
        self._report(event)
