"""Terminal output: text, tables and progress lines. Only the editor in `cli/interactive` writes to a terminal, too.

Generated text and results go to standard output, notes and errors to standard error. If standard output is not a
terminal, there are no escape codes and no progress line. Control characters in printed text, such as generated text or
file names, are escaped. Characters that the encoding of a stream lacks are escaped, too; in tables, lines and dashes
become ASCII.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from charlstm import standard_streams as streams
from charlstm.standard_streams import as_log, detach_terminal, ignore_broken_pipe, on_broken_pipe
from charlstm.text.visible import invisible, visible
from charlstm.units import finite

__all__ = [
    "ProgressLine",
    "as_log",
    "detach_terminal",
    "duration",
    "error",
    "escape_for_terminal",
    "ignore_broken_pipe",
    "is_terminal",
    "marked",
    "note",
    "on_broken_pipe",
    "out",
    "out_bytes",
    "out_json",
    "out_styled",
    "print_errors_only",
    "show_log",
    "table",
]

PLAIN_INTERVAL = 5.0  # seconds between two plain lines
_ASCII_CHARACTERS = str.maketrans("–—·█▏▎▍▌▋▊▉", "---#|||||||")
_live: list[Any] = []  # the tqdm bars on the terminal
_name = ""  # of a process that prints errors only


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    return not stream.closed and stream.isatty()


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


def marked(text: str) -> str:
    """A text for :func:`out_styled`, control characters escaped, that a terminal underlines, in yellow unless the
    environment variable NO_COLOR is set."""
    style = "4" if os.environ.get("NO_COLOR") else "4;33"
    return "\n".join(line and f"\x1b[{style}m{visible(line)}\x1b[0m" for line in text.split("\n"))


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


def note(text: str) -> None:
    """Print a note to standard error, above the progress line if there is one. Write errors are ignored."""
    if not _name:
        _print_err(text)


def _print_err(text: str) -> None:
    with _above_live():
        streams.write_err(visible(text) + "\n")


@contextmanager
def _above_live() -> Iterator[None]:
    """Print in the block above the progress line, if there is one."""
    bar = _live[-1] if _live else None
    if bar is not None:
        bar.clear()
    yield
    if bar is not None:
        bar.refresh()


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


def table(rows: Sequence[Sequence[str]], title: str = "", prose: bool = False) -> None:
    """Print rows of plain text as a table; the first row is the header. Control characters are escaped.

    Columns after the first are aligned to the right, for numbers; with `prose`, to the left.
    """
    if _name:
        return
    from rich.box import SIMPLE_HEAD, Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell_text(cell: str) -> Text:
        cell = visible(cell)
        is_encodable = streams.encodable(cell, sys.stdout) == cell
        return Text(cell if is_encodable else streams.encodable(cell.translate(_ASCII_CHARACTERS), sys.stdout))

    lines = str(SIMPLE_HEAD)
    plain = streams.encodable(lines, sys.stdout) != lines
    header, *body = rows
    rendered = Table(
        title=cell_text(title) if title else None,
        title_justify="left",
        box=Box(lines.replace("─", "-"), ascii=True) if plain else SIMPLE_HEAD,
        safe_box=False,
        pad_edge=False,
    )
    for number, name in enumerate(header):
        rendered.add_column(cell_text(name), justify="left" if prose or number == 0 else "right", overflow="fold")
    for row in body:
        rendered.add_row(*(cell_text(cell) for cell in row))
    terminal = is_terminal()  # explicit: rich would also obey FORCE_COLOR
    width = None if terminal else 200
    buffer = io.StringIO()
    Console(file=buffer, width=width, highlight=False, no_color=not terminal, force_terminal=terminal).print(rendered)
    with _above_live():
        streams.write_out(buffer.getvalue())


def duration(seconds: float) -> str:
    """``1:23:45`` or ``4:05``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _TqdmStream:
    """A standard stream that tqdm writes to."""

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


class ProgressLine:
    """A progress line that is updated in place on a terminal; elsewhere, a plain line every few seconds.

    Use it as a context manager. ``update`` takes a fraction from 0 to 1 and a function that returns the text; it is
    called only if the line is printed. ``on_stderr``: print to standard error, if standard output has only results.
    """

    def __init__(self, prefix: str = "", on_stderr: bool = False) -> None:
        self._prefix, self._on_stderr = visible(prefix), on_stderr
        self._bar: Any = None
        self._next = 0.0

    def __enter__(self) -> ProgressLine:
        stream = sys.stderr if self._on_stderr else sys.stdout
        terminal = _is_terminal(stream) if self._on_stderr else is_terminal()
        if terminal and not _name:
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                file=_TqdmStream(self._on_stderr),
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
        """Whether the line is updated in place on a terminal."""
        return self._bar is not None

    def update(self, fraction: float, text: Callable[[], str], at_once: bool = False) -> None:
        """Show the progress; ``at_once``: even if the last update was less than the interval ago."""
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
