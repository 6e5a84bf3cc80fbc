"""Patterns: what is refused, and where."""

from __future__ import annotations

import pytest

from charlstm.errors import UserError
from charlstm.text.pattern import Choice, Repeat, Sequence, Symbol, parse_pattern


def test_pattern_becomes_a_tree():
    tree, _ = parse_pattern(r"a[^]b]{2,}|(?:\d|.)?")
    either = Choice((Sequence((Symbol(r"\d"),)), Sequence((Symbol("."),))))
    expected = (
        Sequence((Symbol("a", "a"), Repeat(Symbol("[^]b]"), 2, None))),
        Sequence((Repeat(either, 0, 1),)),
    )
    assert tree == Choice(expected)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a[b", "not a regular expression: unterminated character set at position 1"),
        ("a{3,1}", "min repeat greater than max repeat at position 2"),
        ("*", "nothing to repeat at position 0"),
        ("(" * 5000, "the pattern '(((("),
        ("(" * 400 + "a" + ")" * 400, "is nested too deeply"),
        ("a(?=b)", "at position 1: a pattern is followed"),
        ("(?i:a)", "a lookaround, a condition, or another group"),
        (r"(a)\1", "a reference to a group, which is not supported, at position 3"),
        (r"a\b", "a word boundary or an anchor within it"),
        ("a^b", "an anchor within it, which is not supported, at position 1"),
        ("(a$)", "an anchor within it, which is not supported, at position 2"),
        ("(?x)a b", "the flag x"),
    ],
    ids=lambda value: value[:9],
)
def test_unsupported_patterns_are_refused(pattern, message):
    with pytest.raises(UserError) as error:
        parse_pattern(pattern)
    assert message in str(error.value)
