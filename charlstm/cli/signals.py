"""Signals: INT, TERM and HUP save the run in training and end the command; USR1 saves and continues."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from charlstm import console
from charlstm.cli.guard import SavedWork

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
SAVING = ("SIGUSR1",)
REPEAT_SECONDS = 5.0
"""TERM and HUP so soon after the first ending signal, unless that is INT, are no second request: bash and the kernel
each send HUP when a terminal closes, systemd sends HUP after TERM, and torchrun forwards TERM to processes which a
scheduler has signalled, too."""


class Stoppable(Protocol):
    """A trainer or a pool of workers, which can save and stop."""

    def request_stop(self) -> None: ...
    def request_save(self) -> None: ...


class Signals:
    """The signals that one command received. If no run has to be saved, the first ending signal exits at once, with
    128 + its number."""

    number: int | None = None
    """The ending signal that was received, if any; SIGPIPE if standard output was closed."""

    is_forced: bool = False
    """Whether a second signal has ended the command at once, before what runs was saved."""

    work: SavedWork | None = None
    """The work that is saved while it runs, or that an error has interrupted."""

    def __init__(self) -> None:
        self._running: Stoppable | None = None
        self._first_time = 0.0

    @property
    def exit_code(self) -> int:
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def saving(self, running: Stoppable, work: SavedWork | None = None) -> Iterator[None]:
        """Meanwhile, the first ending signal, or closed standard output, makes ``running`` save and stop. A second
        signal exits at once, unless it only repeats the first (`REPEAT_SECONDS`)."""
        self._running, self.work = running, work
        try:
            with console.on_broken_pipe(self._on_broken_pipe):
                yield
            self.work = None
        finally:
            self._running = None

    def _on_broken_pipe(self) -> None:
        assert self._running is not None
        self.number, self._first_time = getattr(signal, "SIGPIPE", 13), time.monotonic()  # Windows has no SIGPIPE
        console.ignore_broken_pipe()
        self._running.request_stop()
        console.note("standard output is closed: stopping after this step")

    def on_ending_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle an ending signal."""
        first = self.number is None
        if signal.Signals(number).name == "SIGHUP":
            console.detach_terminal()
        if first:
            console.ignore_broken_pipe()
            self._first_time = time.monotonic()
        elif signal.SIGINT not in (number, self.number) and time.monotonic() < self._first_time + REPEAT_SECONDS:
            return
        self.number = number
        if not first or self._running is None:
            self.is_forced = not first
            raise SystemExit(self.exit_code)
        self._running.request_stop()
        with suppress(RuntimeError):  # the signal interrupted the writing of another line
            console.note("\nstopping after this step; repeat to exit at once")

    def on_save_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal that requests a checkpoint."""
        if self._running is None:
            console.note(f"{signal.Signals(number).name}: nothing to save now")
        else:
            self._running.request_save()


@contextmanager
def handled() -> Iterator[Signals]:
    """Install the signal handlers of a command. An ignored signal, such as HUP under ``nohup``, stays ignored."""
    signals = Signals()
    handlers = dict.fromkeys(ENDING, signals.on_ending_signal) | dict.fromkeys(SAVING, signals.on_save_signal)
    available = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    previous = {s: signal.signal(s, h) for s, h in available.items() if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield signals
    finally:
        console.ignore_broken_pipe(False)
        for s, old in previous.items():
            signal.signal(s, old)
