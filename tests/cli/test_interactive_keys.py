"""Bytes of a terminal become keys."""

from __future__ import annotations

import pytest

from charlstm.cli.interactive.keys import Key, KeyDecoder


def text(characters: str) -> Key:
    return Key("text", characters)


def keys(*names: str) -> list[Key]:
    return [Key(name) for name in names]


def apart(decoded: list[Key]) -> list[tuple[str, str]]:
    return [(key.name, character) for key in decoded for character in key.text or "-"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\t", keys("tab")),
        ("\r\n", keys("enter", "enter")),
        ("\x04\x05\x14\x07\x0c", keys("done", "line", "hotter", "cooler", "redraw")),
        ("\x15\x17", keys("delete line", "delete word")),
        ("\x7f\b", keys("backspace", "backspace")),
        ("\x1b[A\x1b[B\x1bOC\x1b[D", keys("up", "down", "right", "left")),
        ("\x1b[1;5C\x1b[5~\x1b[6~\x1b[F\x1bOF\x1b[Z", keys("right", "hotter", "cooler", "line", "line", "undo")),
        ("\x1b\x7f", keys("delete word")),
        ("\x1b[12~\x1b[<0;1;1M\x1bx\x1b[I\x01\x00", []),
        ("春風😀é", [text("春風😀é")]),
        ("a\tb c", [text("a"), Key("tab"), text("b c")]),
        ("\x1b[200~a\tb\r\nc\x1b[A\r\x1b[201~d", [text("a\tb\nc\x1b[A\n"), text("d")]),
    ],
    ids=repr,
)  # fmt: skip
def test_keys_are_decoded_however_they_are_cut(content, expected):
    encoded = content.encode()
    assert KeyDecoder("utf-8").feed(encoded) == expected
    one_by_one = KeyDecoder("utf-8")
    single = [key for byte in encoded for key in one_by_one.feed(bytes([byte]))]
    assert [(k.name, c) for k in single for c in k.text or "_"] == [
        (k.name, c) for k in expected for c in k.text or "_"
    ]


def test_lone_escape_is_forgotten_but_no_paste():
    decoder = KeyDecoder("utf-8")
    assert decoder.feed(b"\x1b") == []
    decoder.flush()
    assert decoder.feed(b"[A") == [text("[A")]
    assert decoder.feed(b"\x1b[200~ab") == []
    decoder.flush()
    assert decoder.feed(b"c\x1b[201~") == [text("abc")]


def test_bytes_in_another_encoding_are_replaced():
    assert KeyDecoder("utf-8").feed(b"\xffa") == [text("\ufffda")]
    assert KeyDecoder("latin-1").feed(b"\xff") == [text("ÿ")]
