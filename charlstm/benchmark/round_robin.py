"""Time candidates in turns, so that other load on the machine slows all of them equally."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from charlstm.errors import UserError

NO_TIME = "no time was left for it"
NO_MEMORY = "it does not fit into the memory of the device"

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Candidate:
    """A function ``run`` and the amount of its work: characters or multiply-adds. ``free`` ends its turn."""

    run: Callable[[], object]
    amount: float
    free: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Speed:
    """Amount of work per second: median, lowest and highest of the rounds."""

    median: float
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """Range of the rounds as a fraction of their median."""
        return (self.highest - self.lowest) / self.median


@dataclass(frozen=True)
class Turn(Generic[K]):
    """The next candidate, the fraction of the time that has passed, and the seconds left (None in the warm-up)."""

    key: K
    fraction: float
    seconds_left: float | None


@dataclass(frozen=True)
class Outcome(Generic[K]):
    """Speeds of the candidates that ran in all rounds, the reasons of the others, and the number of rounds."""

    speeds: dict[K, Speed]
    left_out: dict[K, str]
    rounds: int


def round_robin(
    candidates: Mapping[K, Candidate],
    rounds: int,
    turn_seconds: float,
    limit: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[], None] = lambda: None,
    warm_up_runs: int = 2,
    untimed_runs: int = 0,
    after: Callable[[], None] = lambda: None,
) -> Iterator[Turn[K] | Outcome[K]]:
    """Run all candidates in every round, every other round in reverse order.

    Yields a Turn before each turn, and the Outcome last.

    Each candidate first runs ``warm_up_runs`` times (at least twice) outside the rounds, so that one-time work
    (compiled code, optimizer state, CUDA graphs) is not timed. In its turn it runs until ``turn_seconds`` have passed,
    at least once. ``wait`` returns when all queued work is done: devices run asynchronously, so the clock is never read
    without it. A candidate that raises UserError is left out.

    At the end of each turn, ``free`` of the candidate is called, and ``after``, which clears a cache that they share;
    ``untimed_runs`` runs at the beginning of the next one fill it again: no speed depends on the other candidates.

    ``limit`` in seconds: another candidate is warmed up only while two rounds of the earlier ones would still fit, and
    another round begins only if it will end in time. The first candidate and the first round are never left out.
    """
    start = clock()
    expected: dict[K, float] = {}
    runs: dict[K, int] = {}
    seconds_of_turn: dict[K, float] = {}
    left_out: dict[K, str] = {}
    for key, candidate in candidates.items():
        if expected and clock() - start + 2 * sum(expected.values()) > limit:
            left_out[key] = NO_TIME
            continue
        yield Turn(key, 0.0, None)
        try:
            for _ in range(warm_up_runs - 1):
                candidate.run()
            wait()
            run_start = clock()
            candidate.run()
            wait()
            seconds = max(clock() - run_start, 1e-9)
        except UserError as refusal:
            left_out[key] = str(refusal)
            continue
        finally:
            candidate.free()
            after()
        runs[key] = max(1, math.ceil(turn_seconds / seconds))
        seconds_of_turn[key] = seconds * runs[key]
        expected[key] = seconds * untimed_runs + seconds_of_turn[key]
    one_round = sum(expected.values())
    speeds: dict[K, list[float]] = {key: [] for key in expected}
    total = min(rounds * one_round, max(one_round, limit - (clock() - start)))
    rounds_done, passed = 0, 0.0
    while expected and rounds_done < rounds and (rounds_done == 0 or clock() - start + one_round <= limit):
        for key in list(expected) if rounds_done % 2 == 0 else list(reversed(expected)):
            yield Turn(key, min(passed / total, 1.0), max(total - passed, 0.0))
            passed += expected[key]
            try:
                untimed_start = clock()
                for _ in range(untimed_runs):
                    candidates[key].run()
                if untimed_runs:
                    wait()
                    expected[key] = clock() - untimed_start + seconds_of_turn[key]
                speeds[key].append(_turn(candidates[key], runs[key], turn_seconds, clock, wait))
            except UserError as refusal:
                left_out[key] = str(refusal)
                del expected[key], speeds[key]
            finally:
                candidates[key].free()
                after()
        rounds_done += 1
        one_round = sum(expected.values())
    summary = {key: Speed(median(values), min(values), max(values)) for key, values in speeds.items()}
    yield Outcome(summary, left_out, rounds_done)


def _turn(
    candidate: Candidate, batch: int, seconds: float, clock: Callable[[], float], wait: Callable[[], None]
) -> float:
    """Amount per second, waiting after every ``batch`` runs."""
    runs, start = 0, clock()
    while True:
        for _ in range(batch):
            candidate.run()
        wait()
        runs += batch
        elapsed = clock() - start
        if elapsed >= seconds:
            return runs * candidate.amount / elapsed
