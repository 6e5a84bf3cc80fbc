"""Texts in rows of a terminal."""

from __future__ import annotations

import pytest

from charlstm.cli.interactive.layout import cut, fitting, wrap
from charlstm.terminal_layout import text_width


def rows_of(text, suggestion="", columns=10, encodable=str):
    wrapped = wrap(text, suggestion, columns, encodable)
    assert all(sum(cell.width for cell in row) <= columns for row in wrapped.rows)
    return ["".join(cell.text for cell in row) for row in wrapped.rows], wrapped.cursor


@pytest.mark.parametrize(
    ("text", "suggestion", "rows", "cursor"),
    [
        ("", "", [""], (0, 0)),
        ("abc", "def", ["abcdef"], (0, 3)),
        ("abc ", "", ["abc "], (0, 4)),
        ("abc\n", "", ["abc", ""], (1, 0)),
        ("the cat sat", "", ["the cat ", "sat"], (1, 3)),
        ("the cat s", "at on", ["the cat ", "sat on"], (1, 1)),
        ("0123456789", "", ["0123456789", ""], (1, 0)),
        ("0123456789", " x", ["0123456789", "x"], (1, 0)),
        ("0123456789abc", "", ["0123456789", "abc"], (1, 3)),
        ("a 01234567", "\x1b", ["a ", "01234567", "\\x1b"], (2, 0)),
        ("a", "\n\nb", ["a", "", "b"], (0, 1)),
        ("春風春風春風", "", ["春風春風春", "風"], (1, 2)),
        ("a春風春風", "春", ["a春風春風", "春"], (1, 0)),
        ("e\u0301e\u0301", "x", ["e\u0301e\u0301x"], (0, 2)),
        ("a\tb", "", ["a    b"], (0, 6)),
        ("\x1b[2J\r\u202e", "", ["\\x1b[2J\\r", "\\u202e"], (1, 6)),
        ("a\N{ZERO WIDTH JOINER}b", "", ["a\N{ZERO WIDTH JOINER}b"], (0, 2)),
    ],
)
def test_rows_end_between_words_and_fit(text, suggestion, rows, cursor):
    assert rows_of(text, suggestion) == (rows, cursor)


def test_characters_are_replaced_before_they_are_measured():
    rows, cursor = rows_of("é春x", encodable=lambda text: text.encode("ascii", "backslashreplace").decode())
    assert (rows, cursor) == (["\\xe9\\u6625", "x"], (1, 1))


def test_rows_of_status_fit():
    assert fitting(["春風", "ab", "c"], 8) == ["春風", "ab"]
    assert fitting(["abc"], 2) == []
    assert cut("春風春風", 8) == "春風春風"
    assert cut("春風春風x", 8) == "春風..."
    assert text_width(cut("abcdef", 2)) == 2
