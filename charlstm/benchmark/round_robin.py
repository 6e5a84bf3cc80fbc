"""Contenders by turns: what else the machine does meanwhile falls upon all of them alike."""

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
    """``run`` does ``amount`` of work: characters, multiply-adds."""

    run: Callable[[], object]
    amount: float


@dataclass(frozen=True)
class Speed:
    """Amount of work per second: median, lowest and highest of the rounds."""

    median: float
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of their median."""
        return (self.highest - self.lowest) / self.median


@dataclass(frozen=True)
class Turn(Generic[K]):
    """Whose turn it is, the share of the time that has passed, and the seconds left (None while warming up)."""

    key: K
    fraction: float
    seconds_left: float | None


@dataclass(frozen=True)
class Outcome(Generic[K]):
    """Speeds of those that took part in all rounds, why the others did not, and the number of rounds."""

    speeds: dict[K, Speed]
    left_out: dict[K, str]
    rounds: int


def round_robin(
    contenders: Mapping[K, Candidate],
    rounds: int,
    turn_seconds: float,
    limit: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[], None] = lambda: None,
    warm_up: int = 2,
    before: int = 0,
    after: Callable[[], None] = lambda: None,
) -> Iterator[Turn[K] | Outcome[K]]:
    """Let all contenders run in every round, every other round in reverse order.

    Yields whose turn it is before each turn, and the outcome last.

    Each first runs ``warm_up`` times (at least twice) outside the rounds, so that nothing it makes only once (compiled
    code, optimiser state, recordings) is ever timed. In its turn it runs until ``turn_seconds`` have passed, at least
    once. ``wait`` returns when all work is really done: a device may lag behind whoever gives it work, and so the
    clock is never read without it. A contender that raises UserError is left out.

    Where contenders share room for what they keep, ``after`` gives it up at the end of each turn, and ``before`` runs
    at the beginning of the next one, outside of the clock, make it anew: no speed depends on who else takes part.

    ``limit`` in seconds: a further contender is warmed up only while two rounds of the others would still fit, and a
    further round begins only if it will end in time. The first contender and the first round are never left out.
    """
    start = clock()
    expected: dict[K, float] = {}
    runs: dict[K, int] = {}
    left_out: dict[K, str] = {}
    for key, contender in contenders.items():
        if expected and clock() - start + 2 * sum(expected.values()) > limit:
            left_out[key] = NO_TIME
            continue
        yield Turn(key, 0.0, None)
        try:
            for _ in range(warm_up - 1):
                contender.run()
            wait()
            began = clock()
            contender.run()
            wait()
            seconds = max(clock() - began, 1e-9)
        except UserError as refusal:
            left_out[key] = str(refusal)
            continue
        finally:
            after()
        runs[key] = max(1, math.ceil(turn_seconds / seconds))
        expected[key] = seconds * (before + runs[key])
    one_round = sum(expected.values())
    speeds: dict[K, list[float]] = {key: [] for key in expected}
    total = min(rounds * one_round, max(one_round, limit - (clock() - start)))
    done, passed = 0, 0.0
    while expected and done < rounds and (done == 0 or clock() - start + one_round <= limit):
        for key in list(expected) if done % 2 == 0 else list(reversed(expected)):
            yield Turn(key, min(passed / total, 1.0), max(total - passed, 0.0))
            passed += expected[key]
            try:
                for _ in range(before):
                    contenders[key].run()
                if before:
                    wait()
                speeds[key].append(_turn(contenders[key], runs[key], turn_seconds, clock, wait))
            except UserError as refusal:
                left_out[key] = str(refusal)
                del expected[key], speeds[key]
            finally:
                after()
        done += 1
    found = {key: Speed(median(measured), min(measured), max(measured)) for key, measured in speeds.items()}
    yield Outcome(found, left_out, done)


def _turn(
    contender: Candidate, at_once: int, seconds: float, clock: Callable[[], float], wait: Callable[[], None]
) -> float:
    """Amount per second, with a wait after every ``at_once`` runs."""
    runs, start = 0, clock()
    while True:
        for _ in range(at_once):
            contender.run()
        wait()
        runs += at_once
        elapsed = clock() - start
        if elapsed >= seconds:
            return runs * contender.amount / elapsed
