"""Layout for the width of a terminal."""

from __future__ import annotations

import math

import pytest

from charlstm.terminal_layout import ASCII_LEVELS, Part, fit_parts, fit_table, sparkline, wrap


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 5, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "  two"]),
        ("two  spaces", 12, ["two  spaces"]),
        ("a\nb c", 2, ["a", "b", "  c"]),
        ("1,234.5 is a number", 8, ["1,234.5", "  is a", "  number"]),
        ("1,234.5 is", 4, ["1,234.5", "  is"]),
        ("runs/some-name", 9, ["runs/", "  some-", "  name"]),
        ("x=0.12345", 7, ["x=", "  0.12345"]),
        ("abcdefgh", 5, ["abc", "  def", "  gh"]),
        ("日本語の本", 6, ["日本", "  語の", "  本"]),
    ],
)
def test_text_is_wrapped_but_numbers_are_not_broken(text, width, lines):
    assert wrap(text, width, "  ") == lines


def test_table_that_fits_is_unchanged():
    rows = [["name", "n"], ["a long name of a run", "1,234"]]
    assert fit_table(rows, 28) == (rows, [])


def test_text_columns_shrink_before_columns_are_left_out():
    rows = [["name", "text", "n"], ["one", "a sentence of some words", "1,234"]]
    fitted, omitted = fit_table(rows, 31)
    assert fitted[1] == ["one", "a sentence of\nsome words", "1,234"]
    assert omitted == []


def test_optional_columns_are_left_out_first_then_the_last():
    rows = [["name", "a", "b", "c"], ["x" * 14, "1" * 9, "2" * 9, "3" * 9]]
    assert fit_table(rows, 40, ["a"]) == ([["name", "b", "c"], ["x" * 14, "2" * 9, "3" * 9]], ["a"])
    assert fit_table(rows, 30, ["a"])[1] == ["a", "c"]
    assert fit_table(rows, 5, ["a"])[1] == ["a", "c"]


def test_optional_columns_are_left_out_before_a_name_is_broken():
    name = "a-comparison/a-long-name-of-an-arm-seed1"
    rows = [["name", "text", "bits", "state"], [name, "words of a text", "1.234", "finished"]]
    assert fit_table(rows, 60, ["text"]) == ([["name", "bits", "state"], [name, "1.234", "finished"]], ["text"])
    assert fit_table(rows, 76, ["text"])[0][1] == [name, "words of a\ntext", "1.234", "finished"]
    broken, omitted = fit_table(rows, 40, ["text"])
    assert broken[1] == ["a-comparison/a-long-\nname-of-an-arm-seed1", "1.234", "finished"]
    assert omitted == ["text"]


def test_parts_of_the_highest_rank_are_left_out_first():
    parts = [Part("step 5", 2), Part(" epoch 1", 3), Part(" 2.5 bits"), Part("  0:10 left", 1)]
    assert [fit_parts(parts, width).strip() for width in (40, 30, 20, 12, 5)] == [
        "step 5 epoch 1 2.5 bits  0:10 left",
        "step 5 2.5 bits  0:10 left",
        "2.5 bits  0:10 left",
        "2.5 bits",
        "2.5",
    ]


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 4, ""),
        ([3.0], 4, "_"),
        ([2.0, 2.0], 4, "__"),
        ([4.0, 3.0, 2.0, 1.0], 4, "'-._"),
        ([4.0, 4.0, 1.0, 1.0], 2, "'_"),
        ([1.0, math.inf, 0.0], 3, "''_"),
        ([math.nan], 3, "'"),
    ],
)
def test_sparkline(values, width, bars):
    assert sparkline(values, width, ASCII_LEVELS) == bars
