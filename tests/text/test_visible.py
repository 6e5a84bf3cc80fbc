"""Control and invisible characters are escaped, characters that belong to a text are not."""

from __future__ import annotations

import pytest

from charlstm.text.visible import listed_symbols, visible

SHOWN = {
    "joiner between emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Persian non-joiner": "می\u200cخواهم",
    "soft hyphen": "Donau\u00addampf",
    "Arabic end of ayah": "\u06dd١",
    "emoji of a future Unicode": "\U0001fade \U0001f6da \U0001fc00",
    "tab and newline": "a\tb\n",
}
ESCAPED = {
    "escape": "\x1b",
    "control sequence": "\x9b",
    "carriage return": "\r",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "right-to-left mark": "\u200f",
    "byte-order mark": "\ufeff",
    "word joiner": "\u2060",
    "hidden tag": "\U000e0041",
    "noncharacter": "\U0001ffff",
    "unassigned outside of the emoji": "\u0378",
    "private": "\ue000",
    "lone surrogate": "\udc80",
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_characters_of_text_are_unchanged(text):
    assert visible(text) == text


@pytest.mark.parametrize("character", ESCAPED.values(), ids=ESCAPED)
def test_control_and_invisible_characters_are_escaped(character):
    assert visible(f"a{character}b") == "a" + character.encode("unicode_escape").decode() + "b"


def test_listed_symbols_can_all_be_seen():
    assert listed_symbols(" \n a\u0301é寒€\ue000", "characters") == "U+0020 U+000A U+0020 a U+0301 é 寒 € U+E000"
    assert listed_symbols("\x00a\xff", "bytes") == "0x00 0x61 0xFF"
    assert listed_symbols("abcde", "characters", most=2) == "a b and 3 more"
