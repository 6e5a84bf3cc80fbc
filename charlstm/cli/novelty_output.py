"""Prints what of a text is new: marked passages, tables, and JSON records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm import console
from charlstm.novelty.novelty import Copied, Novelty, Report
from charlstm.novelty.search import SHORTEST, SIZES
from charlstm.text.vocabulary import Vocabulary

EXCERPT = 60  # characters
ROWS = 10
UNSHOWN = "\ufffd"


def excerpt(text: str) -> str:
    """The text in one line, cut in the middle if it is long."""
    text = text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    half = EXCERPT // 2 - 1
    return text if len(text) <= EXCERPT else f"{text[:half]}…{text[-half:]}"


def print_report(report: Report, texts: Sequence[str], name: str, unit: str) -> None:
    """Print the fractions of new n-grams, and the longest passages that are in the training text.

    texts: the characters of each text, one for each of its ids.
    """
    held_out = report.held_out
    header = [f"new n-grams of n {unit}s", name, *(["held-out text"] if held_out else [])]
    rows = [
        [str(n), *(_percent(part.new[n]) for part in (report.together, held_out) if part is not None)] for n in SIZES
    ]
    lengths = [_longest(part) for part in (report.together, held_out) if part is not None]
    console.table([header, *rows, [f"longest copied passage, {unit}s", *lengths]])
    copied = [(passage, number) for number, result in enumerate(report.texts) for passage in result.copied]
    copied.sort(key=lambda entry: -entry[0].length)
    if not copied:
        return
    several = len(texts) > 1
    header = [f"{unit}s", *(["text"] if several else []), "at", "training text", "passage"]
    table = [
        [
            str(passage.length),
            *([str(number + 1)] if several else []),
            f"{passage.start:,}",
            f"line {passage.line:,}",
            excerpt(texts[number][passage.start : passage.start + passage.length]),
        ]
        for passage, number in copied[:ROWS]
    ]
    shown = f", the longest {ROWS}" if len(copied) > ROWS else ""
    passages = "1 passage" if len(copied) == 1 else f"{len(copied):,} passages"
    title = f"copied from the training text: {passages} of at least {SHORTEST} {unit}s{shown}"
    console.table([header, *table], title=title, prose=True, optional=["text", "at"])


def novelty_record(result: Novelty, text: str) -> dict[str, Any]:
    """The result for one text as JSON."""
    return {
        "characters": result.characters,
        "new_ngrams": {str(n): fraction for n, fraction in result.new.items()},
        "copied": [
            {
                "start": p.start,
                "length": p.length,
                "text": text[p.start : p.start + p.length],
                "corpus_position": p.source,
                "corpus_line": p.line,
            }
            for p in result.copied
        ],
    }


def held_out_record(result: Novelty | None) -> dict[str, Any] | None:
    """The result for the held-out text as JSON."""
    if result is None:
        return None
    fractions = {str(n): fraction for n, fraction in result.new.items()}
    longest = max((p.length for p in result.copied), default=0)
    return {"characters": result.characters, "new_ngrams": fractions, "longest_copied": longest}


def marked_segments(copied: Sequence[Copied], length: int) -> list[tuple[slice, bool]]:
    """The parts of a text of ``length`` characters, in order, and whether each is copied."""
    segments, at = [], 0
    for passage in sorted(copied, key=lambda p: p.start):
        segments += [(slice(at, passage.start), False), (slice(passage.start, passage.start + passage.length), True)]
        at = passage.start + passage.length
    segments.append((slice(at, length), False))
    return [(part, is_copied) for part, is_copied in segments if part.start < part.stop]


def symbols_of(vocabulary: Vocabulary, ids: npt.ArrayLike) -> str:
    """One character for each id: U+FFFD for one that is unknown (-1), and for bytes that are not ASCII."""
    table = [symbol if vocabulary.kind == "characters" or symbol < "\x80" else UNSHOWN for symbol in vocabulary.symbols]
    table.append(UNSHOWN)
    return "".join(table[number] for number in np.asarray(ids).tolist())


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _longest(result: Novelty) -> str:
    longest = max((p.length for p in result.copied), default=0)
    return str(longest) if longest else f"under {SHORTEST}"
