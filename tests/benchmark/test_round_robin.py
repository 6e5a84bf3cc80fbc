from __future__ import annotations

import math

import pytest

from charlstm.benchmark.round_robin import NO_TIME, Candidate, Outcome, Turn, round_robin
from charlstm.errors import UserError


class Course:
    """Contenders on a clock that only their work moves; the first run of each takes ``first`` seconds longer."""

    def __init__(self, seconds: dict[str, float], first: float = 0.0) -> None:
        self.now, self.log = 0.0, ""
        self.contenders = {name: Candidate(self._runner(name, cost, first), 10.0) for name, cost in seconds.items()}

    def _runner(self, name, cost, first):
        def run():
            self.now += cost + (first if name not in self.log else 0.0)
            self.log += name

        return run

    def clock(self) -> float:
        return self.now

    def hold(self, rounds, turn_seconds=0.0, limit=math.inf):
        *turns, outcome = round_robin(self.contenders, rounds, turn_seconds, limit, self.clock)
        assert isinstance(outcome, Outcome)
        assert all(isinstance(turn, Turn) for turn in turns)
        return turns, outcome


def test_rounds_take_turns_in_alternating_order_after_the_warm_up():
    course = Course({"a": 1.0, "b": 1.0, "c": 1.0})
    course.hold(3)
    assert course.log == "aabbcc" + "abc" + "cba" + "abc"


def test_what_happens_once_is_never_timed():
    _, outcome = Course({"a": 1.0, "b": 4.0}, first=1000.0).hold(3)
    assert {name: speed.median for name, speed in outcome.speeds.items()} == {"a": 10.0, "b": 2.5}
    assert outcome.rounds == 3


def test_a_fast_contender_runs_until_its_turn_is_long_enough_and_a_slow_one_once():
    course = Course({"a": 0.25, "b": 3.0})
    _, outcome = course.hold(1, turn_seconds=1.0)
    assert course.log == "aabb" + "aaaa" + "b"
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


def test_one_that_refuses_is_left_out_with_its_reason():
    course = Course({"a": 1.0, "b": 1.0})

    def refuse():
        raise UserError("not willing")

    course.contenders = {"x": Candidate(refuse, 1.0), **course.contenders}
    _, outcome = course.hold(2)
    assert outcome.left_out == {"x": "not willing"}
    assert list(outcome.speeds) == ["a", "b"]


def test_nobody_left_is_no_error():
    def refuse():
        raise UserError("not willing")

    *_, outcome = round_robin({"x": Candidate(refuse, 1.0)}, 2, 0.0)
    assert isinstance(outcome, Outcome)
    assert (outcome.speeds, outcome.rounds) == ({}, 0)


def test_rounds_end_within_the_limit():
    course = Course({"a": 1.0, "b": 1.0})
    _, outcome = course.hold(100, limit=15.0)
    assert outcome.rounds == 5  # four seconds of warming up, then two a round
    assert course.now <= 15.0


def test_whoever_would_leave_no_time_for_two_rounds_is_left_out_and_the_first_never():
    _, outcome = Course({"a": 2.0, "b": 2.0, "c": 2.0}, first=3.0).hold(100, limit=20.0)
    assert outcome.left_out == {"c": NO_TIME}  # fourteen seconds used, two rounds of four to come
    course = Course({"a": 50.0, "b": 1.0})
    _, outcome = course.hold(5, limit=10.0)
    assert (list(outcome.speeds), outcome.rounds) == (["a"], 1)
    assert outcome.left_out == {"b": NO_TIME}


def test_progress_goes_from_nothing_to_the_end():
    turns, _ = Course({"a": 1.0, "b": 3.0}).hold(2)
    warming, measuring = turns[:2], turns[2:]
    assert [turn.seconds_left for turn in warming] == [None, None]
    assert [turn.seconds_left for turn in measuring] == pytest.approx([8.0, 7.0, 4.0, 1.0])
    assert [turn.fraction for turn in measuring] == pytest.approx([0.0, 1 / 8, 4 / 8, 7 / 8])


class Behind:
    """A device that takes work at once and does it while it is waited for."""

    def __init__(self) -> None:
        self.now, self.left, self.log = 0.0, 0.0, ""

    def contender(self, name: str, cost: float) -> Candidate:
        def run():
            self.now += 0.001
            self.left += cost
            self.log += name

        return Candidate(run, 10.0)

    def wait(self) -> None:
        self.now, self.left = self.now + self.left, 0.0
        self.log += "."

    def hold(self, rounds, turn_seconds, warm_up=2):
        contenders = {"a": self.contender("a", 0.25), "b": self.contender("b", 3.0)}
        *_, outcome = round_robin(
            contenders, rounds, turn_seconds, clock=lambda: self.now, wait=self.wait, warm_up=warm_up
        )
        assert isinstance(outcome, Outcome)
        return outcome


def test_a_device_that_lags_behind_is_waited_for_and_not_after_every_run():
    device = Behind()
    outcome = device.hold(2, 1.0)
    assert device.log == "a.a." + "b.b." + "aaaa." + "b." + "b." + "aaaa."
    assert {name: speed.median for name, speed in outcome.speeds.items()} == pytest.approx(
        {"a": 10 / 0.251, "b": 10 / 3.001}
    )


def test_as_many_first_runs_as_asked_for():
    device = Behind()
    device.hold(1, 0.0, warm_up=4)
    assert device.log == "aaa.a." + "bbb.b." + "a." + "b."


def test_one_that_fails_in_a_round_is_left_out_and_the_others_go_on():
    course = Course({"a": 1.0, "b": 1.0, "c": 1.0})
    run, calls = course.contenders["b"].run, []

    def tired():
        calls.append(1)
        if len(calls) > 3:
            raise UserError("no more")
        run()

    course.contenders["b"] = Candidate(tired, 10.0)
    _, outcome = course.hold(4)
    assert outcome.left_out == {"b": "no more"}
    assert list(outcome.speeds) == ["a", "c"]
    assert (outcome.rounds, course.log.count("a"), course.log.count("c")) == (4, 6, 6)


class Shelf:
    """Room for one thing that a contender keeps and makes anew, which takes long, where another's lies."""

    def __init__(self) -> None:
        self.now, self.log, self.kept = 0.0, "", ""

    def contender(self, name: str) -> Candidate:
        def run():
            if self.kept != name:
                assert not self.kept
                self.now, self.kept = self.now + 1000.0, name
                self.log += "+"
            self.now += 1.0
            self.log += name

        return Candidate(run, 10.0)

    def clear(self) -> None:
        self.kept = ""
        self.log += "-"

    def wait(self) -> None:
        self.log += "."


def test_what_is_given_up_after_each_turn_is_made_again_before_the_clock_of_the_next():
    shelf = Shelf()
    contenders = {name: shelf.contender(name) for name in "ab"}
    *_, outcome = round_robin(
        contenders, 2, 0.0, clock=lambda: shelf.now, wait=shelf.wait, warm_up=3, before=2, after=shelf.clear
    )
    assert shelf.log == "+aa.a.-+bb.b.-" + "+aa.a.-+bb.b.-" + "+bb.b.-+aa.a.-"
    assert isinstance(outcome, Outcome)
    assert {name: (s.lowest, s.highest) for name, s in outcome.speeds.items()} == {"a": (10, 10), "b": (10, 10)}


@pytest.mark.parametrize("failing", [1, 4])
def test_one_that_fails_leaves_nothing_behind(failing):
    """Its first run, or the first of its turn: the shelf is clear for the next."""
    shelf, calls = Shelf(), []
    contenders = {name: shelf.contender(name) for name in "ab"}
    run = contenders["a"].run

    def tired():
        run()
        calls.append(1)
        if len(calls) == failing:
            raise UserError("no more")

    contenders["a"] = Candidate(tired, 10.0)
    *_, outcome = round_robin(contenders, 2, 0.0, clock=lambda: shelf.now, warm_up=3, before=2, after=shelf.clear)
    assert isinstance(outcome, Outcome)
    assert outcome.left_out == {"a": "no more"}
    assert outcome.speeds["b"].lowest == outcome.speeds["b"].highest == 10
