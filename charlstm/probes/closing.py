"""Closing brackets, closing quotes and line ends: characters that depend on an opener, by the distance to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from charlstm.text.vocabulary import Vocabulary

Ids = npt.NDArray[np.integer]
Positions = npt.NDArray[np.int64]
Kind = Literal["bracket", "quote", "line end"]

LONGEST_SPAN = 1000
BRACKETS = {")": "(", "]": "[", "}": "{"}
TOKENS = re.compile(r'\\[\\"]|"+|[()\[\]{}]|\n')


@dataclass(frozen=True)
class ClosingCharacter:
    """The occurrences of one closing character in a text of N characters.

    kind       bracket, quote or line end
    symbol     the character, and ``id``, its id in the vocabulary
    positions  where it closes a span, ascending, [C]
    distances  characters from the opener to it; for a line end the length of the line, [C]
    """

    kind: Kind
    symbol: str
    id: int
    positions: Positions
    distances: Positions


def find_closing_characters(ids: Ids, vocabulary: Vocabulary) -> tuple[ClosingCharacter, ...]:
    """Find the closing characters of a text ids [N] by its characters alone, without a grammar; those that close
    nothing in it are left out.

    Brackets nest: ``)``, ``]`` and ``}`` close the nearest open opener of their kind, and openers after it stay
    unclosed. Double quotes open and close alternately, starting again after each blank line; two or more in a row are
    ignored (an empty string, or Python's triple quotes), and so is one after a backslash. An opener that is not closed
    within 1,000 characters is ignored. A line end is the newline after a line that is not empty, and a line is open
    from its second character on. CR LF is ignored, since CR determines LF.
    """
    text = characters_of(ids, vocabulary)
    closing = []
    for symbol, spans in _spans(text).items():
        if spans:
            starts, positions = np.array(spans, np.int64).T
            symbol_id = vocabulary.symbols.index(symbol)
            closing.append(ClosingCharacter(_kind(symbol), symbol, symbol_id, positions, positions - starts))
    return tuple(closing)


def characters_of(ids: Ids, vocabulary: Vocabulary) -> str:
    """The text, one character per id; a byte as the code point of its value."""
    return vocabulary.decode_bytes(ids).decode("latin-1") if vocabulary.kind == "bytes" else vocabulary.decode(ids)


def _kind(symbol: str) -> Kind:
    return "bracket" if symbol in BRACKETS else "quote" if symbol == '"' else "line end"


def _spans(text: str) -> dict[str, list[tuple[int, int]]]:
    """For each closing character, the positions of the opener and the closing character of its spans; a line opens with
    its first character."""
    spans: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in (*BRACKETS, '"', "\n")}
    still_open: list[tuple[str, int]] = []
    quote: int | None = None
    line = 0

    for match in TOKENS.finditer(text):
        character, position = match[0], match.start()
        if character == "\n":
            if not text[line:position].strip():
                quote = None
            if position > line and text[position - 1] != "\r":
                spans[character].append((line, position))
            line = position + 1
        elif character == '"':
            if quote is None or position - quote > LONGEST_SPAN:
                quote = position
            else:
                spans[character].append((quote, position))
                quote = None
        elif character in "()[]{}":
            still_open = [(opener, begin) for opener, begin in still_open if position - begin <= LONGEST_SPAN]
            if character not in BRACKETS:
                still_open.append((character, position))
                continue
            match_index = max(
                (n for n, (opener, _) in enumerate(still_open) if opener == BRACKETS[character]), default=None
            )
            if match_index is not None:
                spans[character].append((still_open[match_index][1], position))
                del still_open[match_index:]
    return spans
