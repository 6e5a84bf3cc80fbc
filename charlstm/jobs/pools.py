"""Choose where jobs run."""

from __future__ import annotations

from charlstm.jobs.base import Pool
from charlstm.jobs.processes import Processes, default_number
from charlstm.jobs.this_process import ThisProcess


def make_pool(processes: int | None = None) -> Pool:
    """A pool of so many processes of this machine, by default one per core; with one, this process."""
    number = processes or default_number()
    return ThisProcess() if number == 1 else Processes(number)
