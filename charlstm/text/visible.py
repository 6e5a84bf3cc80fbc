"""Escaping of control characters and invisible characters, for safe display."""

from __future__ import annotations

import unicodedata

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
PARTS_OF_TEXT = frozenset(
    "\u00ad\u200c\u200d"  # soft hyphen and joiners, which are part of words and emoji
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"  # number signs
)
EMOJI = range(0x1F000, 0x1FFFE)
"""Blocks that get new emoji every year; Python's Unicode tables may be older than the text."""


def invisible(character: str) -> bool:
    """Whether the character is invisible or controls a terminal. False for newline, tab, joiners, soft hyphens, and
    emoji that Python does not know yet."""
    if character in "\n\t" or character in PARTS_OF_TEXT:
        return False
    category = unicodedata.category(character)
    return category in INVISIBLE and not (category == "Cn" and ord(character) in EMOJI)


def escape(character: str) -> str:
    """``\\x1b`` for ESC, ``\\r`` for a carriage return, ``\\u202e`` for the right-to-left override."""
    return character.encode("unicode_escape").decode("ascii")


def visible(text: str) -> str:
    """The text with every `invisible` character escaped."""
    return "".join(escape(character) if invisible(character) else character for character in text)


def listed_symbols(symbols: str, kind: str, most: int = 40) -> str:
    """The symbols of a vocabulary with spaces between them, in which every one can be seen; the first ``most``, and how
    many there are beyond."""
    names = [f"0x{ord(one):02X}" if kind == "bytes" else _name(one) for one in symbols[:most]]
    rest = len(symbols) - len(names)
    return " ".join(names) + (f" and {rest:,} more" if rest else "")


def _name(character: str) -> str:
    is_seen = character.isprintable() and not character.isspace() and not unicodedata.combining(character)
    return character if is_seen else f"U+{ord(character):04X}"
