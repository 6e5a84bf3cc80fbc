"""What somebody may have meant: the nearest of the names that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import PurePath

FILES = 0.7
"""Nearness from which on the name of another file is suggested; `notes` to `nodes` is 0.8, `nope` to `one` 0.57."""


def near(word: str, words: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The word spelt most like `word`, if any is near; capitals do not count."""
    lower = {candidate.lower(): candidate for candidate in words}
    matches = difflib.get_close_matches(word[:100].lower(), lower, n=1, cutoff=cutoff)
    return lower[matches[0]] if matches else None


def near_file(name: str, names: Iterable[str]) -> str | None:
    """The file whose name is most like `name`, if it is near without its suffix: two of one kind share that anyway."""
    stem, kind = PurePath(name).stem, PurePath(name).suffix
    by_stem: dict[str, list[str]] = {}
    for other in names:
        by_stem.setdefault(PurePath(other).stem.lower(), []).append(other)
    found = near(stem, by_stem, FILES)
    return None if found is None else max(by_stem[found], key=lambda other: PurePath(other).suffix == kind)
