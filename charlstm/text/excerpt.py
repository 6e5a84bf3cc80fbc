"""A few printable characters of a text, to begin a sample with."""

from __future__ import annotations

import re

EXCERPT = 24  # characters


def excerpt(text: str) -> str:
    """At most 24 printable characters of one line of the text, whole words if possible."""
    lines = [line.strip() for line in re.split(r"[^ -~\u00a1-\ufffc]+", text)]
    line = next((line for line in lines if len(line) >= EXCERPT), max(lines, key=len))
    return line[:EXCERPT].rpartition(" ")[0] or line[:EXCERPT]
