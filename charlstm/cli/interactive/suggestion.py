"""A suggestion of how a text continues, and its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from charlstm.generation.session import Character

_CJK = "\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"\s*(?:[{_CJK}]|[^\W{_CJK}]+(?:['’][^\W{_CJK}]+)*[.,:;!?]*|[^\w\s]+)?")
"""A word with the spaces before it and the punctuation after it; a Chinese or Japanese character counts as one."""
_LINE = re.compile(r"\n*[^\n]*\n?")


@dataclass(frozen=True)
class Suggestion:
    """A continuation to take; ``ends``: its last element ends the document."""

    characters: list[Character]
    ends: bool = False

    @property
    def text(self) -> str:
        """The text as it is shown, without the end of the document."""
        return "".join(c.text for c in (self.characters[:-1] if self.ends else self.characters))

    def first_line(self) -> int:
        """The number of characters of its first line that is not empty, with the newline."""
        return self._matching(_LINE)

    def first_word(self) -> int:
        """How many of its characters are its first word, with the spaces before it."""
        return self._matching(_WORD)

    def _matching(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text)
        return covering(self.characters, len(match.group()) if match else 0) or 1  # 1: the end of the document


def last_word(characters: list[Character]) -> list[Character]:
    """The last word with the spaces before it, or the spaces at the end."""
    words = [word for word in _WORD.findall("".join(c.text for c in characters)) if word]
    return _last(characters, len(words[-1])) if words else []


def last_line(characters: list[Character]) -> list[Character]:
    """The last line; if it is empty, the newline before it."""
    line = "".join(c.text for c in characters).rpartition("\n")[2]
    return _last(characters, len(line) or 1) if characters else []


def covering(characters: list[Character], size: int) -> int:
    """How many characters from the first contain this many code points."""
    count = total = 0
    while total < size:
        total += len(characters[count].text)
        count += 1
    return count


def _last(characters: list[Character], size: int) -> list[Character]:
    """The last characters that contain this many code points."""
    return characters[len(characters) - covering(characters[::-1], size) :]


def whole_words(characters: list[Character]) -> list[Character]:
    """Without the beginning of a word at the end, if there is a space in the second half."""
    for end in range(len(characters) - 1, len(characters) // 2, -1):
        if characters[end].text.isspace():
            return characters[:end]
    return characters
