"""A worker process that is killed."""

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.jobs.processes import Processes


@dataclass(frozen=True)
class Endless:
    label: str
    key: Path
    dies: bool

    def done(self) -> bool:
        return False

    def work(self, control) -> bool:
        if self.dies:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + 30
        while not control.should_stop() and time.monotonic() < end:
            time.sleep(0.05)
        return not control.should_stop()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_last_worker_that_is_killed_is_noticed(monkeypatch, tmp_path):
    spawn = ProcessPoolExecutor._spawn_process

    def spawn_slowly(pool):
        time.sleep(0.3)  # long enough for the thread of the pool to wait before it knows the process
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", spawn_slowly)
    jobs = [Endless(name, tmp_path / name, name == "b") for name in "ab"]
    start = time.monotonic()
    with Processes(2) as pool, pytest.raises(UserError, match="a worker process was killed"):
        list(pool.do(jobs))
    assert time.monotonic() - start < 25
