"""Terminal output: text, tables and progress lines. Only the editor in `cli/interactive` writes to a terminal, too.

Generated text and results go to standard output, notes and errors to standard error. If standard output is not a
terminal, there are no escape codes, and a progress line only in a notebook. Control characters in printed text, such as
generated text or file names, are escaped. Characters that the encoding of a stream lacks are escaped, too; in tables,
lines and dashes become ASCII.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Any, TextIO

from charlstm import standard_streams as streams
from charlstm import terminal_layout as layout
from charlstm.live_line import LiveLine
from charlstm.standard_streams import as_log, detach_terminal, ignore_broken_pipe, on_broken_pipe
from charlstm.table_drawing import draw_table
from charlstm.terminal_layout import Part
from charlstm.text.visible import invisible, visible
from charlstm.units import finite

__all__ = [
    "Part",
    "ProgressLine",
    "as_log",
    "detach_terminal",
    "duration",
    "error",
    "escape_for_terminal",
    "ignore_broken_pipe",
    "is_colored",
    "is_terminal",
    "marked",
    "name_omitted",
    "note",
    "on_broken_pipe",
    "out",
    "out_bytes",
    "out_json",
    "out_styled",
    "out_wrapped",
    "print_errors_only",
    "shaded",
    "show_log",
    "sparkline",
    "table",
    "width",
]

DELAY = 1.0
"""Seconds of scoring a text before its progress is shown."""
PLAIN_INTERVAL, LIVE_INTERVAL, NOTEBOOK_INTERVAL = 5.0, 0.1, 1.0  # seconds between two lines
_ASCII_CHARACTERS = str.maketrans("–—·█▏▎▍▌▋▊▉", "---#|||||||")
COLORS = ("0", "36", "32", "33", "31", "97;41")
"""SGR codes of the levels of a shaded text: cyan, green, yellow, red, white on red."""
FIRST_SIGN = 2
"""The first level at which a newline, tab or space is shown by a sign."""
SIGNS = {ord("\n"): "↵\n", ord("\t"): "→\t", ord(" "): "·"}
_live: list[LiveLine] = []
_name = ""  # of a process that prints errors only


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    return not stream.closed and stream.isatty()


def _is_notebook(stream: TextIO) -> bool:
    """Whether the stream is the output of a notebook's cell, in which a carriage return goes back to the beginning of
    the line, as on a terminal."""
    return type(stream).__module__.split(".")[0] == "ipykernel"


def width() -> int | None:
    """Columns of the terminal of standard output; None if it is not a terminal."""
    return layout.columns(sys.stdout) if is_terminal() else None


def print_errors_only(name: str) -> None:
    """From now on print errors only, prefixed with this name: another process prints everything else."""
    global _name
    _name = name


def out(text: str, end: str = "\n") -> None:
    """Print to standard output. Raises SystemExit if the pipe is closed, as by ``head``, and UserError if writing fails
    outside of ``as_log``."""
    if not _name:
        with _above_live():
            streams.write_out(escape_for_terminal(text) + end)


def out_wrapped(text: str, indent: str = "    ") -> None:
    """Print sentences to standard output; a terminal gets them wrapped at spaces, with an indent of continued lines.

    Raises as :func:`out` does. Commands, which the user may copy, are printed by :func:`out`.
    """
    columns = width()
    if columns is not None:
        text = "\n".join(layout.wrap(escape_for_terminal(text), columns, indent))
    out(text)


def sparkline(values: Sequence[float], columns: int) -> str:
    """The values as small bars, in characters that standard output has."""
    levels = layout.BLOCKS if _is_encodable(layout.BLOCKS) else layout.ASCII_LEVELS
    return layout.sparkline(values, columns, levels)


def marked(text: str) -> str:
    """A text for :func:`out_styled`, control characters escaped, that a terminal underlines, in yellow unless the
    environment variable NO_COLOR is set."""
    style = "4" if os.environ.get("NO_COLOR") else "4;33"
    return "\n".join(line and f"\x1b[{style}m{visible(line)}\x1b[0m" for line in text.split("\n"))


def is_colored() -> bool:
    """Whether standard output is a terminal that may be given colors: the environment variable NO_COLOR is not set."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def shaded(text: str, levels: Sequence[int]) -> str:
    """A text for :func:`out_styled` whose characters, control characters escaped, have the colors of their levels, 0 to
    5; a colored newline, tab or space has a visible sign."""
    content = []
    for level, group in groupby(zip(text, levels, strict=True), key=lambda pair: pair[1]):
        part = visible("".join(character for character, _ in group))
        if level < FIRST_SIGN:
            content.append(part if level == 0 else f"\x1b[{COLORS[level]}m{part}\x1b[0m")
            continue
        for line in part.translate(SIGNS).splitlines(keepends=True):
            end = "\n" if line.endswith("\n") else ""
            content.append(f"\x1b[{COLORS[level]}m{line.removesuffix(end)}\x1b[0m{end}")
    return "".join(content)


def out_styled(text: str) -> None:
    """Print a text with escape codes to standard output, a terminal. Raises as :func:`out` does."""
    if not _name:
        with _above_live():
            streams.write_out(text)


def out_bytes(content: bytes) -> None:
    """Write bytes to standard output unchanged; not for a terminal. Raises as :func:`out` does."""
    if not _name:
        streams.write_out(content)


def out_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON: numbers that are not finite become null, and characters that are invisible or not in the
    encoding are escaped. Raises as :func:`out` does."""
    text = json.dumps(finite(value), ensure_ascii=not streams.is_utf8(sys.stdout), indent=indent, allow_nan=False)
    needs_escape = invisible if is_terminal() else _is_surrogate
    if any(map(needs_escape, text)):
        text = "".join(json.dumps(character)[1:-1] if needs_escape(character) else character for character in text)
    if not _name:
        streams.write_out(text + "\n")


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def note(text: str, is_wrapped: bool = False) -> None:
    """Print a note to standard error, above the progress line if there is one. Write errors are ignored.

    ``is_wrapped``: a terminal gets it wrapped at spaces; not for commands, which the user may copy.
    """
    if is_wrapped and _is_terminal(sys.stderr):
        text = "\n".join(layout.wrap(visible(text), layout.columns(sys.stderr), "    "))
    if not _name:
        _print_err(text)


def _print_err(text: str) -> None:
    with _above_live():
        streams.write_err(visible(text) + "\n")


@contextmanager
def _above_live() -> Iterator[None]:
    """Print in the block above the progress line, if there is one."""
    line = _live[-1] if _live else None
    if line is not None:
        line.clear()
    yield
    if line is not None:
        line.refresh()


def show_log() -> None:
    """Print the log messages of charlstm's modules (``logging``, from level INFO) as notes."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    log = logging.getLogger("charlstm")
    log.handlers = [Notes()]
    log.setLevel(logging.INFO)


def error(text: str) -> None:
    """Print an error message to standard error."""
    _print_err(f"{_name}: error: {text}" if _name else f"error: {text}")


def escape_for_terminal(text: str) -> str:
    """A text with control characters escaped if standard output is a terminal, else unchanged."""
    return visible(text) if is_terminal() else text


def table(rows: Sequence[Sequence[str]], title: str = "", prose: bool = False, optional: Sequence[str] = ()) -> None:
    """Print rows of plain text as a table; the first row is the header. Control characters are escaped.

    Numbers are never broken. On a terminal that is too narrow, cells are wrapped at spaces, and if that is not enough,
    columns are left out, which a line below the table names.

    Args:
        prose: align the columns after the first to the left, for text; otherwise to the right, for numbers.
        optional: headers of the columns that are left out first, in this order; then the last columns are.
    """
    if _name:
        return
    columns = width()
    text, omitted = draw_table(
        [list(map(_printable, row)) for row in rows],
        _printable(title),
        prose,
        list(map(_printable, optional)),
        width=columns or layout.WIDE,
        can_omit=columns is not None,
        is_styled=columns is not None,
        lines="─" if _is_encodable("─") else "-",
    )
    with _above_live():
        streams.write_out(text)
    name_omitted(omitted)


def name_omitted(headers: Sequence[str]) -> None:
    """Name the columns of a table that were left out, if there are any, below it."""
    if names := [" ".join(header.replace("-\n", "").split()) for header in headers if header]:
        out_wrapped(f"not shown on a terminal this narrow: {', '.join(names)}")


def _printable(cell: str) -> str:
    cell = visible(cell)
    return cell if _is_encodable(cell) else streams.encodable(cell.translate(_ASCII_CHARACTERS), sys.stdout)


def _is_encodable(text: str) -> bool:
    return streams.encodable(text, sys.stdout) == text


def duration(seconds: float) -> str:
    """``1:23:45`` or ``4:05``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """A progress line that is updated in place on a terminal and in a notebook; elsewhere, a plain line every few
    seconds.

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
        is_live = (_is_terminal(stream) if self._on_stderr else is_terminal()) or _is_notebook(stream)
        if is_live and not _name:
            self._interval = NOTEBOOK_INTERVAL if _is_notebook(stream) else LIVE_INTERVAL
            write = streams.write_err if self._on_stderr else streams.write_out
            self._line = LiveLine(stream, write, self._live_prefix)
            _live.append(self._line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            _live.remove(self._line)
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
            (note if self._on_stderr else out)(visible(self._prefix) + layout.join_parts(parts))
        self._next = now + self._interval
