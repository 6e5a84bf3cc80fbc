"""A terminal as a screen: keys one by one, and rows of text drawn in place. Its state is restored at the end."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TextIO

from charlstm import standard_streams as streams
from charlstm.cli.interactive.keys import Key, KeyDecoder

_ENTER = "\x1b[?1049h\x1b[?7l\x1b[?2004h"  # the alternate screen, no automatic wrap, marked pastes
_LEAVE = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
_POLL = 0.2  # seconds between two looks at the size of the terminal
_ESCAPE = 0.05  # seconds after which a lone Escape is not the beginning of a sequence


class Closed(Exception):  # noqa: N818
    """The terminal is closed."""


class Screen:
    """Use as a context manager, in the main thread of a system with termios.

    Keys come from standard input, and the screen is ``output``. In the block, the terminal neither echoes nor waits for
    the end of a line; Ctrl-C remains the signal, and Ctrl-Z suspends and restores the terminal meanwhile.
    """

    def __init__(self, output: TextIO) -> None:
        self._input, self.output = sys.stdin.fileno(), output
        self._decoder = KeyDecoder(sys.stdin.encoding or "utf-8")
        self._drawn_size = (0, 0)

    def __enter__(self) -> Screen:
        import termios

        self._attributes = termios.tcgetattr(self._input)
        self._previous = signal.getsignal(signal.SIGTSTP)
        if self._previous is not signal.SIG_IGN:  # a shell without job control could not continue it
            signal.signal(signal.SIGTSTP, self._suspend)
        try:
            self._open()
        except BaseException:  # such as an interrupt
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        signal.signal(signal.SIGTSTP, self._previous)

    def _open(self) -> None:
        import termios

        iflag, oflag, cflag, lflag, ispeed, ospeed, characters = termios.tcgetattr(self._input)
        iflag &= ~termios.IXON  # Ctrl-S does not stop the output
        lflag &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        characters[termios.VQUIT] = bytes([os.fpathconf(self._input, "PC_VDISABLE") & 0xFF])
        termios.tcsetattr(self._input, termios.TCSADRAIN, [iflag, oflag, cflag, lflag, ispeed, ospeed, characters])
        self._write(_ENTER)

    def _close(self) -> None:
        import termios

        with suppress(OSError, Closed):
            self._write(_LEAVE)
        with suppress(OSError, termios.error):  # the terminal is closed
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._attributes)

    def _suspend(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._close()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process is continued
        signal.signal(signal.SIGTSTP, self._suspend)
        self._open()
        self._drawn_size = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self.output.fileno())
            if columns and rows:
                return columns, rows
        return 80, 24

    def draw(self, rows: Sequence[str], cursor: tuple[int, int]) -> None:
        """Draw all rows of the screen, with no control characters but styles, and the cursor at (row, column)."""
        self._drawn_size = self.size
        lines = "\r\n".join(f"\x1b[K{row}" for row in rows)
        row, column = cursor
        self._write(f"\x1b[?25l\x1b[H{lines}\x1b[{row + 1};{column + 1}H\x1b[?25h")

    def has_input(self) -> bool:
        """Whether a key was pressed that is not read yet."""
        return bool(select.select([self._input], [], [], 0)[0])

    def read_keys(self) -> list[Key]:
        """The next keys: waits for them, or until the screen must be drawn again. Raises Closed."""
        while True:
            if select.select([self._input], [], [], _POLL)[0]:
                return self._read()
            if self.size != self._drawn_size:
                return [Key("redraw")]

    def _read(self) -> list[Key]:
        try:
            content = os.read(self._input, 1 << 16)
        except OSError:
            content = b""
        if not content:
            raise Closed
        keys = self._decoder.feed(content)
        if not keys and not select.select([self._input], [], [], _ESCAPE)[0]:
            self._decoder.flush()
        return keys

    def _write(self, text: str) -> None:
        """Write without a buffer: a signal handler may write in the middle of this."""
        content = streams.encodable(text, self.output).encode(self.output.encoding or "utf-8", "replace")
        try:
            while content:
                content = content[os.write(self.output.fileno(), content) :]
        except (OSError, ValueError):
            raise Closed from None
