"""Terminal output: text and tables. Only `progress_line` and the editor in `cli/interactive` write to a terminal, too.

Generated text and results go to standard output, notes and errors to standard error. If standard output is not a
terminal, there are no escape codes. Control characters in printed text, such as generated text or file names, are
escaped. Characters that the encoding of a stream lacks are escaped, too; in tables, lines and dashes become ASCII.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from charlstm import standard_streams as streams
from charlstm import terminal_layout as layout
from charlstm.live_line import above_live_line
from charlstm.standard_streams import as_log, detach_terminal, ignore_broken_pipe, on_broken_pipe
from charlstm.table_drawing import draw_table
from charlstm.text.visible import invisible, visible
from charlstm.units import finite

__all__ = [
    "as_log",
    "detach_terminal",
    "error",
    "escape_for_terminal",
    "ignore_broken_pipe",
    "is_colored",
    "is_silent",
    "is_terminal",
    "name_omitted",
    "note",
    "on_broken_pipe",
    "out",
    "out_bytes",
    "out_json",
    "out_styled",
    "out_wrapped",
    "print_errors_only",
    "show_log",
    "sparkline",
    "table",
    "width",
]

_ASCII_CHARACTERS = str.maketrans("–—·█▏▎▍▌▋▊▉", "---#|||||||")
_name = ""  # of a process that prints errors only


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a stream, or else standard output, is a terminal."""
    stream = stream or sys.stdout
    return not stream.closed and stream.isatty()


def width() -> int | None:
    """Columns of the terminal of standard output; None if it is not a terminal."""
    return layout.columns(sys.stdout) if is_terminal() else None


def is_silent() -> bool:
    """Whether only errors are printed."""
    return bool(_name)


def print_errors_only(name: str) -> None:
    """From now on print errors only, prefixed with this name: another process prints everything else."""
    global _name
    _name = name


def out(text: str, end: str = "\n") -> None:
    """Print to standard output. Raises SystemExit if the pipe is closed, as by ``head``, and UserError if writing fails
    outside of ``as_log``."""
    if not _name:
        with above_live_line():
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


def is_colored() -> bool:
    """Whether standard output is a terminal that may be given colors: the environment variable NO_COLOR is not set."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def out_styled(text: str) -> None:
    """Print a text with escape codes to standard output, a terminal. Raises as :func:`out` does."""
    if not _name:
        with above_live_line():
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
    if is_wrapped and is_terminal(sys.stderr):
        text = "\n".join(layout.wrap(visible(text), layout.columns(sys.stderr), "    "))
    if not _name:
        _print_err(text)


def _print_err(text: str) -> None:
    with above_live_line():
        streams.write_err(visible(text) + "\n")


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
    columns are left out, which a line below the table names. Elsewhere, a table is as wide as its cells.

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
        width=columns,
        is_styled=columns is not None,
        lines="─" if _is_encodable("─") else "-",
    )
    with above_live_line():
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
