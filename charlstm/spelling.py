"""Spelling: the known name nearest to a given one, and lowercase."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import PurePath

FILE_CUTOFF = 0.7
"""Minimum similarity of a suggested file name; `notes` and `nodes` have 0.8, `nope` and `one` 0.57."""

SHORTEST_BEGINNING = 3


def lower(text: str) -> str:
    """The text in lowercase. Unlike ``str.lower`` it does not depend on what follows: a capital sigma always becomes
    the same letter."""
    return text.replace("\u03a3", "\u03c3").lower()


def near(word: str, words: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar of `words`, if its similarity reaches `cutoff`, else the only one that begins with `word`; case
    is ignored."""
    by_lowercase = {candidate.lower(): candidate for candidate in words}
    matches = difflib.get_close_matches(word[:100].lower(), by_lowercase, n=1, cutoff=cutoff)
    if not matches and len(word) >= SHORTEST_BEGINNING:
        begun = [candidate for candidate in by_lowercase if candidate.startswith(word.lower())]
        matches = begun if len(begun) == 1 else []
    return by_lowercase[matches[0]] if matches else None


def near_file(name: str, names: Iterable[str]) -> str | None:
    """The most similar file name, if it is similar without the suffix; of equal stems, one with the same suffix."""
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    by_stem: dict[str, list[str]] = {}
    for other in names:
        by_stem.setdefault(PurePath(other).stem.lower(), []).append(other)
    match = near(stem, by_stem, FILE_CUTOFF)
    return None if match is None else max(by_stem[match], key=lambda other: PurePath(other).suffix == suffix)
