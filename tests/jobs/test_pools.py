"""Jobs in this process and in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from charlstm.errors import UserError
from charlstm.hardware import device
from charlstm.jobs.base import Control, Stopped
from charlstm.jobs.pools import make_pool
from charlstm.jobs.processes import Processes, default_number
from charlstm.jobs.this_process import ThisProcess


@dataclass(frozen=True)
class Count:
    """A job that counts in a file, one step for each time that it is asked what to do."""

    key: Path
    steps: int = 3
    dies_at: int | None = None

    @property
    def label(self) -> str:
        return self.key.name

    def done(self) -> bool:
        return self._count() == self.steps

    def _count(self) -> int:
        return int(self.key.read_text()) if self.key.exists() else 0

    def work(self, control: Control) -> bool:
        for step in range(self._count(), self.steps):
            if control.should_stop():
                return False
            if step == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            control.report(("saved" if control.should_save() else "counted", step))
            self.key.write_text(str(step + 1))
        return True


def test_jobs_of_this_process_are_done_once(tmp_path):
    jobs, events = [Count(tmp_path / name) for name in "abca"], []
    jobs[1].key.write_text("3")
    jobs[2].key.write_text("1")
    with ThisProcess() as pool:
        assert [job.label for job in pool.do(jobs, lambda job, event: events.append((job.label, *event)))] == [
            "b",
            "a",
            "c",
        ]
    assert events == [*(("a", "counted", step) for step in range(3)), *(("c", "counted", step) for step in (1, 2))]


def test_requests_reach_a_job_of_this_process(tmp_path):
    jobs, events, done = [Count(tmp_path / name) for name in "ab"], [], []
    with ThisProcess() as pool:

        def on_event(job: Count, event: tuple[str, int]) -> None:
            events.append(event)
            if event == ("counted", 0):
                pool.request_save()
            if event[0] == "saved":
                pool.request_stop()

        with pytest.raises(Stopped):
            done.extend(pool.do(jobs, on_event))
    assert not done
    assert events == [("counted", 0), ("saved", 1)]
    assert (tmp_path / "a").read_text() == "2"
    assert not (tmp_path / "b").exists()
    with ThisProcess() as pool:
        assert [job.label for job in pool.do(jobs)] == ["a", "b"]


def test_one_process_is_this_one(tmp_path):
    assert isinstance(make_pool(1, None, tmp_path), ThisProcess)


@pytest.mark.parametrize("gpus", [1, 3])
def test_default_number_is_that_of_the_gpus(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert default_number() == gpus


@dataclass(frozen=True)
class WhichGpu:
    """A job that stores the GPU that its process prefers, once another process has stored its own."""

    key: Path
    label: str = "which"

    def done(self) -> bool:
        return False

    def work(self, _: Control) -> bool:
        self.key.write_text(str(device._preferred_gpu))
        while len([*self.key.parent.iterdir()]) < 2:
            time.sleep(0.01)
        return True


@pytest.mark.slow
def test_processes_prefer_different_gpus(tmp_path):
    with Processes(2) as pool:
        list(pool.do([WhichGpu(tmp_path / name) for name in "ab"]))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"0", "1"}


@pytest.mark.slow
def test_processes_report_and_obey(tmp_path):
    jobs, events = [Count(tmp_path / name, 10**6) for name in "ab"], []
    with Processes(2) as pool:

        def on_event(job: Count, event: tuple[str, int]) -> None:
            events.append((job.label, *event))
            pool.request_save()
            if {"a", "b"} <= {label for label, kind, _ in events if kind == "saved"}:
                pool.request_stop()

        with pytest.raises(Stopped):
            list(pool.do(jobs, on_event))
    for label in "ab":
        steps = [step for one, _, step in events if one == label]
        assert steps == sorted(set(steps))
        assert int((tmp_path / label).read_text()) > steps[0]


@dataclass(frozen=True)
class Describe:
    """A job that stores what it finds in its process, or fails."""

    key: Path
    fails: bool = False

    @property
    def label(self) -> str:
        return self.key.name

    def done(self) -> bool:
        return False

    def work(self, _: Control) -> bool:
        if self.fails:
            raise UserError("no text")
        ignored = [s.name for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is signal.SIG_IGN]
        self.key.write_text(f"{torch.get_num_threads()} {ignored}")
        return True


@pytest.mark.slow
def test_process_has_one_thread_ignores_signals_and_begins_nothing_after_a_stop(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with Processes(1) as pool:
        with pytest.raises(UserError, match=r"^b: no text$"):
            list(pool.do([Describe(tmp_path / "a"), Describe(tmp_path / "b", fails=True)]))
        assert (tmp_path / "a").read_text() == "1 ['SIGINT', 'SIGTERM']"
        pool.request_stop()
        with pytest.raises(Stopped):
            list(pool.do([Describe(tmp_path / "c")]))
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_killed_process_is_an_error(tmp_path):
    with Processes(2) as pool, pytest.raises(UserError, match=r"a: a worker process was killed.* Try --jobs 1"):
        list(pool.do([Count(tmp_path / "a", dies_at=2)]))
    assert (tmp_path / "a").read_text() == "2"


def _import_for_long() -> str:
    time.sleep(60)
    return "late"


@dataclass(frozen=True)
class Late(Count):
    """A job that a worker needs long to import."""

    def __reduce__(self):
        return _import_for_long, ()


@pytest.mark.slow
def test_stop_does_not_wait_for_workers_that_have_not_begun(tmp_path):
    start = time.monotonic()
    with Processes(2) as pool:
        threading.Timer(0.5, pool.request_stop).start()
        with pytest.raises(Stopped):
            list(pool.do([Late(tmp_path / "a"), Late(tmp_path / "b")]))
    assert time.monotonic() - start < 20


@dataclass(frozen=True)
class Deaf(Count):
    """A job that does not look whether it is to stop."""

    def work(self, control: Control) -> bool:
        control.report("working")
        time.sleep(60)
        return True


@pytest.mark.slow
def test_exit_at_once_does_not_wait_for_jobs(tmp_path):
    def exit_at_once(*_):
        raise SystemExit(143)

    start = time.monotonic()
    with pytest.raises(SystemExit), Processes(1) as pool:
        list(pool.do([Deaf(tmp_path / "a")], exit_at_once))
    assert time.monotonic() - start < 40
    assert not multiprocessing.active_children()


@dataclass(frozen=True)
class Failing(Count):
    """A job that raises an error, which cannot be pickled if its name is odd."""

    def work(self, _: Control) -> bool:
        error = ValueError("an odd value")
        if self.label == "odd":
            error.lock = threading.Lock()
        raise error


@pytest.mark.slow
def test_errors_of_jobs_are_raised_with_their_traceback(tmp_path):
    with Processes(1) as pool:
        with pytest.raises(ValueError, match="an odd value") as raised:
            list(pool.do([Failing(tmp_path / "a")]))
        assert "in work" in str(raised.value.__cause__)
        with pytest.raises(RuntimeError, match=r"an odd value.*cannot be pickled"):
            list(pool.do([Failing(tmp_path / "odd")]))
        assert [job.label for job in pool.do([Count(tmp_path / "c"), Count(tmp_path / "d")])] == ["c", "d"]
