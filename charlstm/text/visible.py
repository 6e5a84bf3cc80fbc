"""Text made safe to show: what steers a terminal, or cannot be seen, as escapes."""

from __future__ import annotations

import unicodedata

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def invisible(character: str) -> bool:
    """Whether the character is invisible or steers a terminal; newline and tab count as harmless."""
    return character not in "\n\t" and unicodedata.category(character) in INVISIBLE


def escape(character: str) -> str:
    """``\\x1b`` for ESC, ``\\r`` for a carriage return, ``\\u202e`` for the right-to-left override."""
    return character.encode("unicode_escape").decode("ascii")


def visible(text: str) -> str:
    """The text with every such character as an escape."""
    return "".join(escape(character) if invisible(character) else character for character in text)
