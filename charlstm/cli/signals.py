"""Stopping a training run from outside: the first signal saves and ends it, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from charlstm import console

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Received:
    """The signal that came, if one came."""

    number: int | None = None

    @property
    def exit_code(self) -> int:
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[Received]:
    """Call ``stop`` at the first of INT, TERM, HUP; at the second, leave at once.

    A signal that is ignored, as HUP is under ``nohup``, stays ignored.
    """
    received = Received()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received.number is not None:
            raise SystemExit(128 + number)
        received.number = number
        stop()
        if signal.Signals(number).name == "SIGHUP":
            console.hang_up()
        console.note("\nstopping after this step; once more to leave at once")

    before = {s: signal.signal(s, handle) for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield received
    finally:
        for s, old in before.items():
            signal.signal(s, old)
