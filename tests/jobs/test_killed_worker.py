"""A worker process that is killed."""

import os
import signal
import time
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
def test_killed_worker_is_noticed_while_another_works(tmp_path):
    jobs = [Endless(name, tmp_path / name, name == "b") for name in "ab"]
    start = time.monotonic()
    with Processes(2) as pool, pytest.raises(UserError, match="b: a worker process was killed"):
        list(pool.do(jobs))
    assert time.monotonic() - start < 25
