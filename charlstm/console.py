"""The only module that talks to a terminal: texts, tables, and the live line of a training run.

Text that a model wrote goes to standard output, and so do results; notes and errors go to standard error. Where
standard output is no terminal there are no escape codes and no live line. Whatever is printed, a model's text or the
name of a file, no control character in it reaches a terminal or a log: it is shown as an escape.
"""

from __future__ import annotations

import logging
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

from charlstm.text.visible import visible

READER_GONE = 128 + 13  # what a shell makes of SIGPIPE, which Windows has not
PLAIN_INTERVAL = 5.0  # seconds between two plain lines
_live: list[Any] = []  # the bars of the live lines on the terminal
_surviving = False
_name = ""  # of a process that has nothing but errors to say


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def only_errors(name: str) -> None:
    """From now on print nothing but errors, with this name in front: another process speaks for this one."""
    global _name
    _name = name


def out(text: str, end: str = "\n") -> None:
    """Print to standard output. Leaves the program if its reader has gone, as ``head`` does.

    What the output's encoding does not have, such as the odd bytes of a file's name, is written as an escape.
    """
    whole = shown(text) + end

    def write() -> None:
        try:
            sys.stdout.write(whole)
        except UnicodeEncodeError as error:
            sys.stdout.write(whole.encode(error.encoding, "backslashreplace").decode(error.encoding))

    _put_out(write)


def out_bytes(content: bytes) -> None:
    """Write bytes to standard output as they are: not for a terminal. Leaves the program as :func:`out` does."""
    _put_out(lambda: sys.stdout.buffer.write(content))


def _put_out(write: Callable[[], object]) -> None:
    if _name:
        return
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        if not _surviving:
            raise SystemExit(READER_GONE) from None


def survive(on: bool = True) -> None:
    """From now on a reader that has gone, as ``tee`` does at the same Ctrl-C, is no reason to leave: something is to be
    saved."""
    global _surviving
    _surviving = on


def note(text: str) -> None:
    """Print a remark to standard error, if anybody reads it, above the live line if there is one."""
    if not _name:
        _say(text)


def _say(text: str) -> None:
    bar = _live[-1] if _live else None
    if bar is not None:
        bar.clear()
    try:
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        _discard(sys.stderr)
    if bar is not None:
        bar.refresh()


def show_log() -> None:
    """Print what charlstm's modules have to say meanwhile (``logging``, from level INFO) as notes."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    log = logging.getLogger("charlstm")
    log.handlers = [Notes()]
    log.setLevel(logging.INFO)


def error(text: str) -> None:
    """Print what went wrong to standard error."""
    _say(f"{_name}: error: {text}" if _name else f"error: {text}")


def hang_up() -> None:
    """Say nothing more to a terminal that is about to go; what goes into a file still does."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file behind it
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                _discard(stream)


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def shown(text: str) -> str:
    """A text as it may be printed: on a terminal, control characters as escapes; elsewhere as it is."""
    return visible(text) if is_terminal() else text


def table(rows: Sequence[Sequence[str]], title: str = "", prose: bool = False) -> None:
    """Print rows of plain text as a table; the first row is its header. Control characters become escapes.

    Columns after the first are figures, which end at the same place; with `prose` they begin there.
    """
    if _name:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, *body = rows
    grid = Table(
        title=Text(visible(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for number, name in enumerate(header):
        grid.add_column(Text(visible(name)), justify="left" if prose or number == 0 else "right", overflow="fold")
    for row in body:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    terminal = is_terminal()  # said outright: rich would also believe FORCE_COLOR
    width = None if terminal else 200
    Console(file=sys.stdout, width=width, highlight=False, no_color=not terminal, force_terminal=terminal).print(grid)


def duration(seconds: float) -> str:
    """``1:23:45`` or ``4:05``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LiveLine:
    """One line that is kept up to date on a terminal; elsewhere a plain line every few seconds.

    Use it as a context manager; ``update`` takes a share from 0 to 1 and a function that makes the text when it is
    wanted.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = visible(prefix)
        self._bar: Any = None
        self._next = 0.0

    def __enter__(self) -> LiveLine:
        if is_terminal() and not _name:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                file=sys.stdout,
                bar_format=self._prefix.replace("{", "{{").replace("}", "}}") + "{percentage:3.0f}%|{bar:12}| {desc}",
                dynamic_ncols=True,
                leave=False,
                mininterval=0.1,
            )
            _live.append(self._bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            _live.remove(self._bar)
            self._bar.close()

    def update(self, fraction: float, text: Callable[[], str]) -> None:
        """Show how far it is."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._bar is not None:
            self._bar.n = min(fraction, 1.0)
            self._bar.set_description_str(visible(text()))
            self._next = now + 0.1
        else:
            out(f"{self._prefix}{text()}")
            self._next = now + PLAIN_INTERVAL

    def line(self, text: str) -> None:
        """Print a whole line, above the live one."""
        if self._bar is not None:
            self._bar.clear()
        out(text)
        if self._bar is not None:
            self._bar.refresh()
