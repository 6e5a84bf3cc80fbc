"""A terminal of a given width that keeps what is written to it."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Screen(io.StringIO):
    """A stream that claims to be a terminal."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        """What was written, without escape codes."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue())

    def lines(self) -> list[str]:
        """Every line that could be seen, those that were overwritten included."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", self.text()) if line.strip()]


@contextmanager
def screen(width: int, encoding: str = "utf-8") -> Iterator[Screen]:
    """Replace standard output in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", shown := Screen(encoding))
        patch.setenv("COLUMNS", str(width))
        yield shown
