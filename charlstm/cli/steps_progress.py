"""Prints how far a command is whose work is many short runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from charlstm.comparison.step import Step
from charlstm.progress_line import ProgressLine
from charlstm.terminal_layout import Part
from charlstm.units import duration


def show_steps(steps: Iterable[Step], line: ProgressLine) -> None:
    """Do the work, of which each step is a part, and show each on the line."""
    remaining = TimeLeft()
    for step in steps:
        parts = progress_parts(step, remaining.after(step) if line.live else None)
        line.update(step.done / step.total, lambda parts=parts: parts)  # type: ignore[misc]


class TimeLeft:
    """Estimates how long a phase will take, at the mean speed of its jobs since this command began."""

    def __init__(self) -> None:
        self._phase, self._begin, self._previous, self._done_before = "", 0.0, time.monotonic(), 0

    def after(self, step: Step) -> float | None:
        """Seconds left after a step; None as long as no job is completed."""
        now = time.monotonic()
        if step.phase != self._phase:
            self._phase, self._begin, self._done_before = step.phase, self._previous, max(step.done - 1, 0)
        self._previous = now
        if step.done == self._done_before:
            return None
        return (now - self._begin) / (step.done - self._done_before) * (step.total - step.done)


def progress_parts(step: Step, seconds_left: float | None) -> list[Part]:
    """``training: 3 of 24, lstm, seed 0``, and the time left if it is given."""
    return [
        Part(f"{step.phase}: ", 3),
        Part(f"{step.done:,} of {step.total:,}"),
        Part(f", {step.label}" if step.label else "", 4),
        Part("" if seconds_left is None else f"  {duration(seconds_left)} left", 1),
    ]
