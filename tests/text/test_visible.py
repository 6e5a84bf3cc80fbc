from __future__ import annotations

import pytest

from charlstm.text.visible import visible

SHOWN = {
    "joiner between emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Persian non-joiner": "می\u200cخواهم",
    "soft hyphen": "Donau\u00addampf",
    "Arabic end of ayah": "\u06dd١",
    "emoji of a Unicode to come": "\U0001fade \U0001f6da \U0001fc00",
    "tab and newline": "a\tb\n",
}
ESCAPED = {
    "escape": "\x1b",
    "control sequence": "\x9b",
    "carriage return": "\r",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "mark of direction": "\u200f",
    "byte-order mark": "\ufeff",
    "word joiner": "\u2060",
    "hidden tag": "\U000e0041",
    "no character": "\U0001ffff",
    "unassigned outside of the emoji": "\u0378",
    "private": "\ue000",
    "half a pair": "\udc80",
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_what_belongs_to_a_text_is_shown(text):
    assert visible(text) == text


@pytest.mark.parametrize("character", ESCAPED.values(), ids=ESCAPED)
def test_what_steers_a_terminal_is_escaped(character):
    assert visible(f"a{character}b") == "a" + character.encode("unicode_escape").decode() + "b"
