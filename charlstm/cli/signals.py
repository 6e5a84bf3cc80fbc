"""Signals. INT, TERM and HUP end a command; what is being trained is saved first. USR1 saves, and goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from charlstm import console
from charlstm.cli.guard import Work

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
SAVING = ("SIGUSR1",)


class Stoppable(Protocol):
    """What can be told to save: a trainer."""

    def request_stop(self) -> None: ...
    def request_save(self) -> None: ...


class Signals:
    """The signals of one command. While nothing runs that would have to be saved, the first ending one leaves at once,
    with 128 + its number."""

    number: int | None = None
    """The ending signal that came, if one came; SIGPIPE, if nobody reads the output of what runs any more."""

    work: Work | None = None
    """What is being saved, or was when an error broke it off."""

    def __init__(self) -> None:
        self._running: Stoppable | None = None

    @property
    def exit_code(self) -> int:
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def saving(self, running: Stoppable, work: Work | None = None) -> Iterator[None]:
        """What runs meanwhile is told to save: and stop at the first ending signal, or when nobody reads its output any
        more. The second one leaves at once."""
        self._running, self.work = running, work
        try:
            with console.on_broken_pipe(self._nobody_reads):
                yield
            self.work = None
        finally:
            self._running = None

    def _nobody_reads(self) -> None:
        assert self._running is not None
        self.number = getattr(signal, "SIGPIPE", 13)  # Windows has none
        console.survive()
        self._running.request_stop()
        console.note("nobody reads standard output any more: stopping after this step")

    def leave(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle an ending signal."""
        first, self.number = self.number is None, number
        if first:
            console.survive()
            if signal.Signals(number).name == "SIGHUP":
                console.hang_up()
        if not first or self._running is None:
            raise SystemExit(self.exit_code)
        self._running.request_stop()
        with suppress(RuntimeError):  # it came amid another line that is being written
            console.note("\nstopping after this step; once more to leave at once")

    def save(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal that asks for a checkpoint."""
        if self._running is None:
            console.note(f"{signal.Signals(number).name}: there is nothing to save now")
        else:
            self._running.request_save()


@contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals of a command. One that is ignored, as HUP is under ``nohup``, stays ignored."""
    signals = Signals()
    handlers = dict.fromkeys(ENDING, signals.leave) | dict.fromkeys(SAVING, signals.save)
    known = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    before = {s: signal.signal(s, h) for s, h in known.items() if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield signals
    finally:
        console.survive(False)
        for s, old in before.items():
            signal.signal(s, old)
