"""A line on a terminal that is updated in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from charlstm import standard_streams as streams
from charlstm.terminal_layout import Part, bar, columns, fit_parts
from charlstm.text.visible import visible

BAR = 12
BAR_RANK, PERCENTAGE_RANK = 6, 2
"""When the bar and the percentage are left out on a narrow terminal, in the order of :class:`Part`."""


_shown: list[LiveLine] = []


class LiveLine:
    """A line with the progress, below what is printed meanwhile.

    Args:
        terminal: the standard stream, a terminal, that has the line.
        write: writes to it.
        prefix: of the line.
    """

    def __init__(self, terminal: TextIO, write: Callable[[str], None], prefix: Sequence[Part] = ()) -> None:
        from tqdm import tqdm

        self._terminal, self._prefix = terminal, list(prefix)
        self._tqdm: Any = tqdm(
            desc=self._line(0.0, []),
            total=1.0,
            file=_Stream(terminal, write),
            bar_format="{desc}",
            leave=False,
        )
        _shown.append(self)

    def show(self, fraction: float, text: Sequence[Part]) -> None:
        """Show prefix, percentage, bar and text, as far as they fit."""
        self._tqdm.set_description_str(self._line(fraction, text))

    def _line(self, fraction: float, text: Sequence[Part]) -> str:
        """The line, control characters escaped."""
        shown_bar = bar(fraction, BAR) if streams.is_utf8(self._terminal) else bar(fraction, BAR, "#", " ")
        parts = [*self._prefix, Part(f"{fraction:4.0%}", PERCENTAGE_RANK), Part(f"|{shown_bar}|", BAR_RANK)]
        if text:
            first, *others = text
            parts += [Part(f" {first.text}", first.rank), *others]
        shown = [Part(visible(part.text), part.rank) for part in parts]
        return fit_parts(shown, columns(self._terminal) - 1)

    def clear(self) -> None:
        """Clear the line, so that something can be printed."""
        self._tqdm.clear()

    def refresh(self) -> None:
        """Show the line again."""
        self._tqdm.refresh()

    def close(self) -> None:
        """Clear the line for good."""
        _shown.remove(self)
        self._tqdm.close()


@contextmanager
def above_live_line() -> Iterator[None]:
    """Print in the block above the line that is updated in place, if there is one."""
    line = _shown[-1] if _shown else None
    if line is not None:
        line.clear()
    yield
    if line is not None:
        line.refresh()


class _Stream:
    """The stream that tqdm writes to."""

    def __init__(self, stream: TextIO, write: Callable[[str], None]) -> None:
        self._stream, self.write = stream, write

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        """Every write is flushed."""
