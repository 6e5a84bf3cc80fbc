"""Autotunes how threads partition a loop: by batch rows, by panels of units, or a single thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

TRIALS = 3  # timed calls of each partition before the fastest is used
RETRY_EVERY = 100  # calls after which another partition is timed again: the machine's load may have changed
WINDOW = 5  # latest timed calls of a partition that count


class Partition(NamedTuple):
    """The number of threads, and whether they divide the batch rows (with all units) or the units (of all rows)."""

    threads: int
    by_rows: bool


@dataclass
class _Record:
    seconds: dict[Partition, deque[float]]
    calls: int = 0

    def next(self) -> Partition:
        self.calls += 1
        least_timed = min(self.seconds, key=lambda partition: len(self.seconds[partition]))
        if len(self.seconds[least_timed]) < TRIALS:
            return least_timed
        if self.calls % RETRY_EVERY == 0:
            return list(self.seconds)[self.calls // RETRY_EVERY % len(self.seconds)]
        return min(self.seconds, key=lambda partition: min(self.seconds[partition]))


_records: dict[Hashable, _Record] = {}


def candidate_partitions(rows: int, panels: int, threads: int) -> list[Partition]:
    """The partitions to try."""
    partitions = [Partition(1, True)]
    if threads > 1 and rows > 1:
        partitions.append(Partition(threads, True))
    if threads > 1 and panels > 1:
        partitions.append(Partition(threads, False))
    return partitions


@contextmanager
def autotuned_partition(key: Hashable, rows: int, panels: int, steps: int = 1) -> Iterator[Partition]:
    """The partition for the loop of ``steps`` steps that runs in the block.

    The first calls with a key time all partitions, later ones occasionally another one. All partitions compute the same
    numbers, so the timings affect only the speed.
    """
    threads = torch.get_num_threads()
    record = _records.get((key, threads))
    if record is None:
        candidates = candidate_partitions(rows, panels, threads)
        record = _records[key, threads] = _Record({candidate: deque(maxlen=WINDOW) for candidate in candidates})
        yield candidates[-1]  # not timed: torch generates its kernels in the first call
        return
    partition = record.next()
    start = time.perf_counter()
    yield partition
    record.seconds[partition].append((time.perf_counter() - start) / steps)
