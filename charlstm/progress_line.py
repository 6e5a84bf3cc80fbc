"""A line that shows the progress of some work, on a terminal, in a notebook or in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TextIO

from charlstm import console
from charlstm import standard_streams as streams
from charlstm.live_line import LiveLine
from charlstm.terminal_layout import Part, join_parts
from charlstm.text.visible import visible

DELAY = 1.0
"""Seconds of scoring a text before its progress is shown."""
PLAIN_INTERVAL, LIVE_INTERVAL, NOTEBOOK_INTERVAL = 5.0, 0.1, 1.0  # seconds between two lines


class ProgressLine:
    """A progress line that is updated in place on a terminal and in a notebook; elsewhere, a plain line every few
    seconds. A process that prints errors only shows none.

    Use it as a context manager. ``update`` takes a fraction from 0 to 1 and a function that returns the text, or its
    parts, of which a narrow terminal shows the important ones; it is called only if the line is printed.

    Args:
        prefix: of every line.
        on_stderr: print to standard error, if standard output has only results.
        live_prefix: instead of the prefix, of a line that is updated in place.
    """

    def __init__(self, prefix: str = "", on_stderr: bool = False, live_prefix: Sequence[Part] = ()) -> None:
        self._prefix, self._on_stderr = prefix, on_stderr
        self._live_prefix = list(live_prefix) or ([Part(prefix)] if prefix else [])
        self._line: LiveLine | None = None
        self._next, self._interval = 0.0, PLAIN_INTERVAL

    def __enter__(self) -> ProgressLine:
        stream = sys.stderr if self._on_stderr else sys.stdout
        is_live = console.is_terminal(stream) or _is_notebook(stream)
        if is_live and not console.is_silent():
            self._interval = NOTEBOOK_INTERVAL if _is_notebook(stream) else LIVE_INTERVAL
            write = streams.write_err if self._on_stderr else streams.write_out
            self._line = LiveLine(stream, write, self._live_prefix)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()

    @property
    def live(self) -> bool:
        """Whether the line is updated in place."""
        return self._line is not None

    def fractions(self, doing: str) -> Callable[[float], None]:
        """A function that shows how much of some work is done, given the fraction, once it has taken a second."""
        begin = time.monotonic()

        def show(fraction: float) -> None:
            if time.monotonic() >= begin + DELAY:
                self.update(fraction, lambda: doing if self.live else f"{doing}: {fraction:.0%}")

        return show

    def update(self, fraction: float, text: Callable[[], str | Sequence[Part]], at_once: bool = False) -> None:
        """Show the progress; ``at_once``: even if the last update was less than the interval ago."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        content = text()
        parts = [Part(content)] if isinstance(content, str) else content
        if self._line is not None:
            self._line.show(min(fraction, 1.0), parts)
        else:
            show = console.note if self._on_stderr else console.out
            show(visible(self._prefix) + join_parts(parts))
        self._next = now + self._interval


def _is_notebook(stream: TextIO) -> bool:
    """Whether the stream is the output of a notebook's cell, in which a carriage return goes back to the beginning of
    the line, as on a terminal."""
    return type(stream).__module__.split(".")[0] == "ipykernel"
