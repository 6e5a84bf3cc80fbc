"""Writing to standard streams that may be closed, full or disconnected, or lack characters in their encoding.

A result that cannot be written to standard output is an error; a log line is not: training continues without it.
Errors in writing to standard error are ignored, since they cannot be reported anywhere.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from charlstm.errors import UserError

_ignore_broken_pipe = False
_logging = False
_log_failed = False
_broken_pipe: list[Callable[[], object]] = []


def open_missing() -> None:
    """Open the null device for each standard stream that was closed when this process started.

    Otherwise the next opened file would get its file descriptor, and output of a library would go into that file. The
    replacement is opened in the opposite mode, so that using it fails as a closed stream does.
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


def buffer_output() -> None:
    """Give standard output the buffer that ``python -u`` and PYTHONUNBUFFERED leave out.

    Without it, Python takes a write that was cut short, as by a pipe that is closed or a full disk, for a complete one.
    Nothing comes later: every write is flushed.
    """
    stream = sys.stdout
    if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        sys.stdout = open(  # noqa: SIM115
            stream.fileno(), "w", encoding=stream.encoding, errors=stream.errors, closefd=False
        )


def write_out(content: str | bytes) -> None:
    """Write to standard output and flush. Characters that its encoding lacks are escaped.

    Raises:
        SystemExit: the pipe is closed (see :func:`on_broken_pipe` and :func:`ignore_broken_pipe`).
        UserError: writing fails outside of :func:`as_log`.
    """
    global _log_failed
    try:
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(encodable(content, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)
        if not _ignore_broken_pipe:
            _broken_pipe[-1]() if _broken_pipe else exit_broken_pipe()
    except (OSError, ValueError) as error:  # ValueError: closed by this process itself
        reason = getattr(error, "strerror", None) or str(error)
        if not _logging and not _ignore_broken_pipe:
            redirect_to_null(sys.stdout)
            raise UserError(f"standard output cannot be written: {reason}") from None
        if not _log_failed:
            _log_failed = True
            write_err(f"note: standard output cannot be written ({reason}): continuing without it\n")


def write_err(text: str) -> None:
    """Write to standard error and flush; errors are ignored."""
    try:
        sys.stderr.write(encodable(text, sys.stderr))
        sys.stderr.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stderr)
    except (OSError, ValueError):
        pass


def read_stdin(limit: int) -> bytes:
    """Up to ``limit`` bytes of standard input. Raises OSError."""
    if sys.stdin is None:  # Python sets it to None if it was closed
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer.read(limit)


@contextmanager
def as_log(on: bool = True) -> Iterator[None]:
    """Treat standard output in the block as a log: if writing fails, the program continues."""
    global _logging, _log_failed
    previous, _logging, _log_failed = _logging, on or _logging, False
    try:
        yield
    finally:
        _logging = previous


@contextmanager
def on_broken_pipe(handle: Callable[[], object]) -> Iterator[None]:
    """In the block, call ``handle`` if the pipe of standard output is closed, instead of exiting."""
    _broken_pipe.append(handle)
    try:
        yield
    finally:
        _broken_pipe.pop()


def ignore_broken_pipe(on: bool = True) -> None:
    """From now on do not exit if the pipe of standard output is closed, as by a ``tee`` that gets the same Ctrl-C:
    something must still be saved."""
    global _ignore_broken_pipe
    _ignore_broken_pipe = on


def detach_terminal() -> None:
    """Stop writing to a terminal that is about to close; output to files continues."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file behind it
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                redirect_to_null(stream)


def flush() -> None:
    """Flush before the interpreter exits; on failure discard the rest, so that Python does not retry and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            redirect_to_null(stream)


def is_pipe() -> bool:
    """Whether standard output is a pipe."""
    with suppress(AttributeError, OSError, ValueError):  # no file behind it
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    return False


def is_pipe_closed() -> bool:
    """Whether standard output is a pipe whose reader has closed it."""
    with suppress(AttributeError, OSError, ValueError):  # a system without poll, or no file behind it
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def redirect_to_null(stream: TextIO) -> None:
    """Redirect the stream to the null device."""
    with suppress(OSError, ValueError):  # no file behind it
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def is_utf8(stream: TextIO) -> bool:
    """Whether the encoding of the stream is UTF-8."""
    return _encoding(stream) == "utf-8"


def encodable(text: str, stream: TextIO) -> str:
    """The text with characters that the encoding of the stream lacks, such as surrogates in file names, escaped."""
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


def exit_broken_pipe() -> None:
    """Exit with the status of a process killed by SIGPIPE."""
    raise SystemExit(128 + getattr(signal, "SIGPIPE", 13))
