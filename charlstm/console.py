"""The only module that talks to a terminal: texts, tables, and the live line of work that takes long.

Text that a model wrote goes to standard output, and so do results; notes and errors go to standard error. Where
standard output is no terminal there are no escape codes and no live line. Whatever is printed, a model's text or the
name of a file, no control character in it reaches a terminal or a log: it is shown as an escape. What a stream's
encoding lacks is an escape too, but in tables, where lines and dashes become plain ones.
"""

from __future__ import annotations

import io
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from charlstm import standard_streams as streams
from charlstm.standard_streams import as_log, hang_up, on_broken_pipe, survive
from charlstm.text.visible import invisible, visible
from charlstm.units import finite

__all__ = [
    "LiveLine",
    "as_log",
    "duration",
    "error",
    "hang_up",
    "is_terminal",
    "note",
    "on_broken_pipe",
    "only_errors",
    "out",
    "out_bytes",
    "out_json",
    "show_log",
    "shown",
    "survive",
    "table",
]

PLAIN_INTERVAL = 5.0  # seconds between two plain lines
_PLAIN_SIGNS = str.maketrans("–—·█▏▎▍▌▋▊▉", "---#|||||||")
_live: list[Any] = []  # the bars of the live lines on the terminal
_name = ""  # of a process that has nothing but errors to say


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    return not stream.closed and stream.isatty()


def only_errors(name: str) -> None:
    """From now on print nothing but errors, with this name in front: another process speaks for this one."""
    global _name
    _name = name


def out(text: str, end: str = "\n") -> None:
    """Print to standard output. Raises SystemExit if its reader has gone, as ``head`` does, and UserError if it cannot
    be written and is no log (``as_log``)."""
    if not _name:
        with _above_live():
            streams.write_out(shown(text) + end)


def out_bytes(content: bytes) -> None:
    """Write bytes to standard output as they are: not for a terminal. Raises as :func:`out` does."""
    if not _name:
        streams.write_out(content)


def out_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON, whatever it holds: a number that is not finite as null, a character that may not be shown
    or that the encoding lacks as an escape. Raises as :func:`out` does."""
    text = json.dumps(finite(value), ensure_ascii=not streams.is_utf8(sys.stdout), indent=indent, allow_nan=False)
    hidden = invisible if is_terminal() else _surrogate
    if any(map(hidden, text)):
        text = "".join(json.dumps(sign)[1:-1] if hidden(sign) else sign for sign in text)
    if not _name:
        streams.write_out(text + "\n")


def _surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def note(text: str) -> None:
    """Print a remark to standard error, if anybody reads it, above the live line if there is one."""
    if not _name:
        _say(text)


def _say(text: str) -> None:
    with _above_live():
        streams.write_err(visible(text) + "\n")


@contextmanager
def _above_live() -> Iterator[None]:
    """What is printed in the block stands above the live line, if there is one."""
    bar = _live[-1] if _live else None
    if bar is not None:
        bar.clear()
    yield
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


def shown(text: str) -> str:
    """A text as it may be printed: on a terminal, control characters as escapes; elsewhere as it is."""
    return visible(text) if is_terminal() else text


def table(rows: Sequence[Sequence[str]], title: str = "", prose: bool = False) -> None:
    """Print rows of plain text as a table; the first row is its header. Control characters become escapes.

    Columns after the first are figures, which end at the same place; with `prose` they begin there.
    """
    if _name:
        return
    from rich.box import SIMPLE_HEAD, Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def fitting(cell: str) -> Text:
        cell = visible(cell)
        fits = streams.encodable(cell, sys.stdout) == cell
        return Text(cell if fits else streams.encodable(cell.translate(_PLAIN_SIGNS), sys.stdout))

    lines = str(SIMPLE_HEAD)
    plain = streams.encodable(lines, sys.stdout) != lines
    header, *body = rows
    grid = Table(
        title=fitting(title) if title else None,
        title_justify="left",
        box=Box(lines.replace("─", "-"), ascii=True) if plain else SIMPLE_HEAD,
        safe_box=False,
        pad_edge=False,
    )
    for number, name in enumerate(header):
        grid.add_column(fitting(name), justify="left" if prose or number == 0 else "right", overflow="fold")
    for row in body:
        grid.add_row(*(fitting(cell) for cell in row))
    terminal = is_terminal()  # said outright: rich would also believe FORCE_COLOR
    width = None if terminal else 200
    page = io.StringIO()
    Console(file=page, width=width, highlight=False, no_color=not terminal, force_terminal=terminal).print(grid)
    with _above_live():
        streams.write_out(page.getvalue())


def duration(seconds: float) -> str:
    """``1:23:45`` or ``4:05``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Screen:
    """A standard stream for tqdm, which writes into it what it likes."""

    def __init__(self, on_stderr: bool) -> None:
        self._stream = sys.stderr if on_stderr else sys.stdout
        self._write: Callable[[str], None] = streams.write_err if on_stderr else streams.write_out

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> None:
        self._write(text)

    def flush(self) -> None:
        """Every write is flushed."""


class LiveLine:
    """One line that is kept up to date on a terminal; elsewhere a plain line every few seconds.

    Use it as a context manager; ``update`` takes a share from 0 to 1 and a function that makes the text when it is
    wanted. ``on_stderr``: on standard error, for work whose results alone go to standard output.
    """

    def __init__(self, prefix: str = "", on_stderr: bool = False) -> None:
        self._prefix, self._on_stderr = visible(prefix), on_stderr
        self._bar: Any = None
        self._next = 0.0

    def __enter__(self) -> LiveLine:
        stream = sys.stderr if self._on_stderr else sys.stdout
        terminal = _is_terminal(stream) if self._on_stderr else is_terminal()
        if terminal and not _name:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                file=_Screen(self._on_stderr),
                ascii=not streams.is_utf8(stream),
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

    @property
    def live(self) -> bool:
        """Whether it is kept up to date on a terminal."""
        return self._bar is not None

    def update(self, fraction: float, text: Callable[[], str], at_once: bool = False) -> None:
        """Show how far it is; ``at_once`` also where the last line was shown just before."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        if self._bar is not None:
            self._bar.n = min(fraction, 1.0)
            self._bar.set_description_str(visible(text()))
            self._next = now + 0.1
        else:
            (note if self._on_stderr else out)(f"{self._prefix}{text()}")
            self._next = now + PLAIN_INTERVAL
