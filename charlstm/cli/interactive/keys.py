"""Key presses from the bytes that a terminal sends."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"
_CONTROL = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x04": "done",
    "\x05": "line",
    "\x07": "cooler",
    "\x0c": "redraw",
    "\x14": "hotter",
    "\x15": "delete line",
    "\x17": "delete word",
}
_ESCAPED = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "F": "line",  # End
    "4~": "line",
    "Z": "undo",  # Shift and Tab
    "5~": "hotter",  # Page Up
    "6~": "cooler",  # Page Down
}
_TEXT = re.compile(r"[^\x00-\x1f\x7f]+")
_SEQUENCE = re.compile(r"\x1b(?:\[([0-9;:<=>?]*)([ -/]*[@-~])|O(.)|([^[O]))", re.DOTALL)
_INCOMPLETE = re.compile(r"\x1b(?:\[[0-9;:<=>?]*[ -/]*|O)?")


class Key(NamedTuple):
    """A pressed key, or typed or pasted ``text``, whose name is ``text``."""

    name: str
    text: str = ""


class KeyDecoder:
    """Decodes bytes, which may be cut anywhere, into keys. Unknown control characters and sequences are ignored."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._pending = ""

    def feed(self, content: bytes) -> list[Key]:
        """The keys that are complete after these bytes."""
        self._pending += self._decoder.decode(content)
        keys: list[Key] = []
        while self._pending:
            text = self._pending
            if text.startswith(PASTE_START):
                pasted, end, rest = text[len(PASTE_START) :].partition(PASTE_END)
                if not end:
                    break
                keys.append(Key("text", pasted.replace("\r\n", "\n").replace("\r", "\n")))
                self._pending = rest
            elif match := _SEQUENCE.match(text):
                self._pending = text[match.end() :]
                if name := _name(match):
                    keys.append(Key(name))
            elif _INCOMPLETE.fullmatch(text):
                break
            elif match := _TEXT.match(text):
                self._pending = text[match.end() :]
                keys.append(Key("text", match.group()))
            else:
                self._pending = text[1:]
                if text[0] in _CONTROL:
                    keys.append(Key(_CONTROL[text[0]]))
        return keys

    def flush(self) -> None:
        """Forget the beginning of an escape sequence, because nothing has followed it: the Escape key."""
        if not self._pending.startswith(PASTE_START):
            self._pending = ""


def _name(match: re.Match[str]) -> str:
    parameters, final, application, alt = match.groups()
    if alt is not None:
        return "delete word" if alt in "\x7f\b" else ""
    if application is not None:
        return _ESCAPED.get(application, "")
    return _ESCAPED.get(parameters + final if final == "~" else final, "")
