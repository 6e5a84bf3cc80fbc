from __future__ import annotations

import math

import pytest

from charlstm.benchmark.round_robin import NO_TIME, Candidate, Outcome, Turn, round_robin
from charlstm.errors import UserError


class FakeClock:
    """Candidates and a clock that only their runs advance; the first run of each takes ``first`` seconds longer."""

    def __init__(self, seconds: dict[str, float], first: float = 0.0) -> None:
        self.now, self.log = 0.0, ""
        self.candidates = {name: Candidate(self._runner(name, cost, first), 10.0) for name, cost in seconds.items()}

    def _runner(self, name, cost, first):
        def run():
            self.now += cost + (first if name not in self.log else 0.0)
            self.log += name

        return run

    def clock(self) -> float:
        return self.now

    def measure(self, rounds, turn_seconds=0.0, limit=math.inf):
        *turns, outcome = round_robin(self.candidates, rounds, turn_seconds, limit, self.clock)
        assert isinstance(outcome, Outcome)
        assert all(isinstance(turn, Turn) for turn in turns)
        return turns, outcome


def test_rounds_alternate_their_order_after_the_warm_up():
    timeline = FakeClock({"a": 1.0, "b": 1.0, "c": 1.0})
    timeline.measure(3)
    assert timeline.log == "aabbcc" + "abc" + "cba" + "abc"


def test_one_time_work_is_not_timed():
    _, outcome = FakeClock({"a": 1.0, "b": 4.0}, first=1000.0).measure(3)
    assert {name: speed.median for name, speed in outcome.speeds.items()} == {"a": 10.0, "b": 2.5}
    assert outcome.rounds == 3


def test_fast_candidate_repeats_and_slow_one_runs_once():
    timeline = FakeClock({"a": 0.25, "b": 3.0})
    _, outcome = timeline.measure(1, turn_seconds=1.0)
    assert timeline.log == "aabb" + "aaaa" + "b"
    assert outcome.speeds["a"].median == pytest.approx(40.0)


def test_median_and_spread():
    costs = iter([1.0, 1.0, 2.0, 1.0, 5.0])
    now = [0.0]

    def run():
        now[0] += next(costs)

    *_, outcome = round_robin({"a": Candidate(run, 10.0)}, 3, 0.0, clock=lambda: now[0])
    assert isinstance(outcome, Outcome)
    speed = outcome.speeds["a"]
    assert (speed.median, speed.lowest, speed.highest) == (5.0, 2.0, 10.0)
    assert speed.spread == pytest.approx(1.6)


def test_failing_candidate_is_left_out_with_its_reason():
    timeline = FakeClock({"a": 1.0, "b": 1.0})

    def refuse():
        raise UserError("unsupported")

    timeline.candidates = {"x": Candidate(refuse, 1.0), **timeline.candidates}
    _, outcome = timeline.measure(2)
    assert outcome.left_out == {"x": "unsupported"}
    assert list(outcome.speeds) == ["a", "b"]


def test_no_candidate_left_gives_no_speeds():
    def refuse():
        raise UserError("unsupported")

    *_, outcome = round_robin({"x": Candidate(refuse, 1.0)}, 2, 0.0)
    assert isinstance(outcome, Outcome)
    assert (outcome.speeds, outcome.rounds) == ({}, 0)


def test_rounds_end_within_the_limit():
    timeline = FakeClock({"a": 1.0, "b": 1.0})
    _, outcome = timeline.measure(100, limit=15.0)
    assert outcome.rounds == 5  # four seconds of warm-up, then two per round
    assert timeline.now <= 15.0


def test_candidates_beyond_the_limit_are_left_out():
    _, outcome = FakeClock({"a": 2.0, "b": 2.0, "c": 2.0}, first=3.0).measure(100, limit=20.0)
    assert outcome.left_out == {"c": NO_TIME}  # fourteen seconds used, two rounds of four to come
    timeline = FakeClock({"a": 50.0, "b": 1.0})
    _, outcome = timeline.measure(5, limit=10.0)
    assert (list(outcome.speeds), outcome.rounds) == (["a"], 1)
    assert outcome.left_out == {"b": NO_TIME}


def test_progress_goes_from_zero_to_one():
    turns, _ = FakeClock({"a": 1.0, "b": 3.0}).measure(2)
    warming, measuring = turns[:2], turns[2:]
    assert [turn.seconds_left for turn in warming] == [None, None]
    assert [turn.seconds_left for turn in measuring] == pytest.approx([8.0, 7.0, 4.0, 1.0])
    assert [turn.fraction for turn in measuring] == pytest.approx([0.0, 1 / 8, 4 / 8, 7 / 8])


class AsyncDevice:
    """Work is queued at once and done in ``wait``."""

    def __init__(self) -> None:
        self.now, self.queued, self.log = 0.0, 0.0, ""

    def candidate(self, name: str, cost: float) -> Candidate:
        def run():
            self.now += 0.001
            self.queued += cost
            self.log += name

        return Candidate(run, 10.0)

    def wait(self) -> None:
        self.now, self.queued = self.now + self.queued, 0.0
        self.log += "."

    def measure(self, rounds, turn_seconds, warm_up_runs=2):
        candidates = {"a": self.candidate("a", 0.25), "b": self.candidate("b", 3.0)}
        *_, outcome = round_robin(
            candidates, rounds, turn_seconds, clock=lambda: self.now, wait=self.wait, warm_up_runs=warm_up_runs
        )
        assert isinstance(outcome, Outcome)
        return outcome


def test_synchronizes_once_per_turn():
    device = AsyncDevice()
    outcome = device.measure(2, 1.0)
    assert device.log == "a.a." + "b.b." + "aaaa." + "b." + "b." + "aaaa."
    assert {name: speed.median for name, speed in outcome.speeds.items()} == pytest.approx(
        {"a": 10 / 0.251, "b": 10 / 3.001}
    )


def test_number_of_warm_up_runs():
    device = AsyncDevice()
    device.measure(1, 0.0, warm_up_runs=4)
    assert device.log == "aaa.a." + "bbb.b." + "a." + "b."


def test_candidate_failing_in_a_round_is_left_out():
    timeline = FakeClock({"a": 1.0, "b": 1.0, "c": 1.0})
    run, calls = timeline.candidates["b"].run, []

    def failing_run():
        calls.append(1)
        if len(calls) > 3:
            raise UserError("no more")
        run()

    timeline.candidates["b"] = Candidate(failing_run, 10.0)
    _, outcome = timeline.measure(4)
    assert outcome.left_out == {"b": "no more"}
    assert list(outcome.speeds) == ["a", "c"]
    assert (outcome.rounds, timeline.log.count("a"), timeline.log.count("c")) == (4, 6, 6)


class SharedCache:
    """A cache with one entry; filling it takes long."""

    def __init__(self) -> None:
        self.now, self.log, self.entry = 0.0, "", ""

    def candidate(self, name: str) -> Candidate:
        def run():
            if self.entry != name:
                assert not self.entry
                self.now, self.entry = self.now + 1000.0, name
                self.log += "+"
            self.now += 1.0
            self.log += name

        return Candidate(run, 10.0, self.free)

    def free(self) -> None:
        self.log += "~"

    def clear(self) -> None:
        self.entry = ""
        self.log += "-"

    def wait(self) -> None:
        self.log += "."


def test_cleared_cache_is_filled_before_timing():
    shared = SharedCache()
    candidates = {name: shared.candidate(name) for name in "ab"}
    *_, outcome = round_robin(
        candidates,
        2,
        0.0,
        clock=lambda: shared.now,
        wait=shared.wait,
        warm_up_runs=3,
        untimed_runs=2,
        after=shared.clear,
    )
    assert shared.log == "+aa.a.~-+bb.b.~-" + "+aa.a.~-+bb.b.~-" + "+bb.b.~-+aa.a.~-"
    assert isinstance(outcome, Outcome)
    assert {name: (s.lowest, s.highest) for name, s in outcome.speeds.items()} == {"a": (10, 10), "b": (10, 10)}


@pytest.mark.parametrize("failing", [1, 4])
def test_cache_is_cleared_after_a_failure(failing):
    """In its first run, or in the first of its turn."""
    shared, calls = SharedCache(), []
    candidates = {name: shared.candidate(name) for name in "ab"}
    run = candidates["a"].run

    def failing_run():
        run()
        calls.append(1)
        if len(calls) == failing:
            raise UserError("no more")

    candidates["a"] = Candidate(failing_run, 10.0)
    *_, outcome = round_robin(
        candidates, 2, 0.0, clock=lambda: shared.now, warm_up_runs=3, untimed_runs=2, after=shared.clear
    )
    assert isinstance(outcome, Outcome)
    assert outcome.left_out == {"a": "no more"}
    assert outcome.speeds["b"].lowest == outcome.speeds["b"].highest == 10
