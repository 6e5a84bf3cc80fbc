"""The standard streams, which may be closed, full, gone, or of an encoding that lacks characters.

A result that standard output does not take is an error; a line of a log is not: training goes on without it. Notes on
standard error are lost in silence, since there is nowhere else to say so.
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from charlstm.errors import UserError

_surviving = False
_logging = False
_log_failed = False
_broken_pipe: list[Callable[[], object]] = []


def open_missing() -> None:
    """Put something in the place of a standard stream that was closed before this process began.

    Otherwise the next file that is opened would get its number, and what a library prints would go into that file.
    What takes its place fails when it is used, as a closed stream does.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY if mode == "r" else os.O_RDONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def write_out(content: str | bytes) -> None:
    """Write to standard output, at once. Characters that its encoding lacks become escapes.

    Raises:
        SystemExit: its reader has gone (see :func:`on_broken_pipe` and :func:`survive`).
        UserError: it cannot be written, and this is no log (see :func:`as_log`).
    """
    global _log_failed
    try:
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(encodable(content, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
        if not _surviving:
            _broken_pipe[-1]() if _broken_pipe else leave()
    except (OSError, ValueError) as error:  # ValueError: closed by this process itself
        reason = getattr(error, "strerror", None) or str(error)
        if not _logging and not _surviving:
            discard(sys.stdout)
            raise UserError(f"standard output cannot be written: {reason}") from None
        if not _log_failed:
            _log_failed = True
            write_err(f"note: standard output cannot be written ({reason}): going on without it\n")


def write_err(text: str) -> None:
    """Write to standard error, at once, if that can be."""
    try:
        sys.stderr.write(encodable(text, sys.stderr))
        sys.stderr.flush()
    except BrokenPipeError:
        discard(sys.stderr)
    except (OSError, ValueError):
        pass


def read_in(limit: int) -> bytes:
    """Standard input, up to so many bytes. Raises OSError."""
    if sys.stdin is None:  # as Python leaves it where it was closed
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer.read(limit)


@contextmanager
def as_log(on: bool = True) -> Iterator[None]:
    """What is written to standard output in the block is a log: where it is lost, the work goes on."""
    global _logging, _log_failed
    before, _logging, _log_failed = _logging, on or _logging, False
    try:
        yield
    finally:
        _logging = before


@contextmanager
def on_broken_pipe(handle: Callable[[], object]) -> Iterator[None]:
    """In the block call this when the reader of standard output has gone, in place of leaving the program."""
    _broken_pipe.append(handle)
    try:
        yield
    finally:
        _broken_pipe.pop()


def survive(on: bool = True) -> None:
    """From now on a reader that has gone, as ``tee`` does at the same Ctrl-C, is no reason to leave: something is to be
    saved."""
    global _surviving
    _surviving = on


def hang_up() -> None:
    """Say nothing more to a terminal that is about to go; what goes into a file still does."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file behind it
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                discard(stream)


def flush() -> None:
    """Before the interpreter ends: what cannot be written any more is not tried again, and again complained about."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def reader_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    with suppress(AttributeError, OSError, ValueError):  # a system without poll, or no file behind it
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def discard(stream: TextIO) -> None:
    """From now on what is written to the stream goes nowhere."""
    with suppress(OSError, ValueError):  # no file behind it
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def is_utf8(stream: TextIO) -> bool:
    """Whether the stream takes every character."""
    return _encoding(stream) == "utf-8"


def encodable(text: str, stream: TextIO) -> str:
    """The text with what the stream's encoding lacks, such as the odd bytes of a file's name, as escapes."""
    encoding = _encoding(stream)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _encoding(stream: TextIO) -> str:
    try:
        return codecs.lookup(stream.encoding or "utf-8").name
    except (AttributeError, LookupError):
        return "utf-8"


def leave() -> None:
    """Leave the program as one whose reader has gone."""
    raise SystemExit(128 + getattr(signal, "SIGPIPE", 13))
