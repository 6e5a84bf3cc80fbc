"""How threads share a loop: by batch rows, by panels of units, or not at all, whichever is measured to be fastest."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

TRIALS = 3  # measured calls of each way before the fastest is taken
RETRY_EVERY = 100  # calls after which another way is tried again: the machine's load may have changed
WINDOW = 5  # measured calls of a way, the latest ones


class Partition(NamedTuple):
    """The number of threads, and whether they share batch rows (each makes all units) or units (of all rows)."""

    threads: int
    by_rows: bool


@dataclass
class _Record:
    seconds: dict[Partition, deque[float]]
    calls: int = 0

    def next(self) -> Partition:
        self.calls += 1
        rarest = min(self.seconds, key=lambda way: len(self.seconds[way]))
        if len(self.seconds[rarest]) < TRIALS:
            return rarest
        if self.calls % RETRY_EVERY == 0:
            return list(self.seconds)[self.calls // RETRY_EVERY % len(self.seconds)]
        return min(self.seconds, key=lambda way: min(self.seconds[way]))


_records: dict[Hashable, _Record] = {}


def candidate_partitions(rows: int, panels: int, threads: int) -> list[Partition]:
    """The ways worth trying."""
    found = [Partition(1, True)]
    if threads > 1 and rows > 1:
        found.append(Partition(threads, True))
    if threads > 1 and panels > 1:
        found.append(Partition(threads, False))
    return found


@contextmanager
def shared(key: Hashable, rows: int, panels: int, steps: int = 1) -> Iterator[Partition]:
    """How the loop of so many steps that runs in the block is to be shared.

    The first calls with a key try all ways, later ones now and then another. All ways make the same numbers, so what
    is measured here decides nothing but speed.
    """
    threads = torch.get_num_threads()
    record = _records.get((key, threads))
    if record is None:
        possible = candidate_partitions(rows, panels, threads)
        record = _records[key, threads] = _Record({way: deque(maxlen=WINDOW) for way in possible})
        yield possible[-1]  # not measured: torch makes its kernels on the way
        return
    way = record.next()
    start = time.perf_counter()
    yield way
    record.seconds[way].append((time.perf_counter() - start) / steps)
