"""Texts with escape codes, which a terminal underlines or colors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby

from charlstm.text.visible import visible

COLORS = ("0", "36", "32", "33", "31", "97;41")
"""SGR codes of the levels of a shaded text: cyan, green, yellow, red, white on red."""
FIRST_SIGN = 2
"""The first level at which a newline, tab or space is shown by a sign."""
SIGNS = {ord("\n"): "↵\n", ord("\t"): "→\t", ord(" "): "·"}


def marked(text: str) -> str:
    """A text for :func:`charlstm.console.out_styled`, control characters escaped, that a terminal underlines, in yellow
    unless the environment variable NO_COLOR is set."""
    style = "4" if os.environ.get("NO_COLOR") else "4;33"
    return "\n".join(line and f"\x1b[{style}m{visible(line)}\x1b[0m" for line in text.split("\n"))


def shaded(text: str, levels: Sequence[int]) -> str:
    """A text for :func:`charlstm.console.out_styled` whose characters, control characters escaped, have the
    colors of their levels, 0 to 5; a colored newline, tab or space has a visible sign."""
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
