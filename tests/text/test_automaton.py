"""Automata agree with ``re`` on every short text, and see the end of the length."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import reduce
from itertools import product

import pytest

from charlstm.errors import UserError
from charlstm.text.automaton import MAX_POSITIONS, START, Automaton
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abA\n")
TEXTS = ["".join(text) for length in range(5) for text in product(VOCABULARY.symbols, repeat=length)]
PATTERNS = [
    "",
    "a|b",
    "a*",
    "(?:a|)b+",
    "(ab)*a?",
    "a{2}",
    "a{,2}b{1,}",
    "(a?b){1,3}",
    "(a*)*b",
    ".{2,3}",
    "(?s)a.{2}",
    "(?i)a+b",
    r"^\w+$",
    r"\A[^a]\n?",
    "[[a]+",
    "a{0}b",
    "(){9}a",
    r"(?P<name>a)\x62*?",
    "(a|ab)(b|A)?",
    "é|ab",
]


def state_after(automaton, text):
    return reduce(automaton.after, VOCABULARY.encode(text).tolist(), START)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.filterwarnings("ignore:Possible nested set")
def test_automaton_agrees_with_re_on_all_short_texts(pattern, backward):
    automaton, step = Automaton(pattern, VOCABULARY, backward), -1 if backward else 1
    matching = {text[::step] for text in TEXTS if re.fullmatch(pattern, text)}
    prefixes = {text[:n] for text in matching for n in range(len(text) + 1)}
    assert automaton.min_length == min(map(len, matching))
    for text in prefixes:
        state = state_after(automaton, text)
        assert automaton.matches(state) == (text in matching)
        for remaining in range(5 - len(text)):
            longest = len(text) + remaining
            expected = {match[: len(text) + 1] for match in matching if len(text) < len(match) <= longest}
            allowed = automaton.allowed(state, remaining).nonzero()[0]
            assert {text + VOCABULARY.symbols[i] for i in allowed} == {e for e in expected if e[:-1] == text}
    for text in set(TEXTS) - {text[::step] for text in prefixes}:
        assert not automaton.matches(state_after(automaton, text[::step]))


def test_bytes_are_matched_by_the_bytes_of_the_pattern():
    vocabulary = Vocabulary.from_text("aé€".encode())
    automaton = Automaton("é|a€", vocabulary)
    assert automaton.min_length == 2
    assert automaton.matches(reduce(automaton.after, vocabulary.encode("a€").tolist(), START))
    with pytest.raises(UserError, match="does not know 0xBC"):
        Automaton("aü", vocabulary)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("aé+", "matches no text that the model can write: it does not know 'é'"),
        (r"\d", "matches no text that the model can write$"),
        (f"a{{{MAX_POSITIONS + 1}}}", "too long"),
        ("((a{99}){99}){99}", "too long"),
    ],
)
def test_patterns_without_a_match_are_refused(pattern, message):
    with pytest.raises(UserError, match=message):
        Automaton(pattern, VOCABULARY)


def test_length_below_the_shortest_match_is_refused():
    automaton = Automaton("a{3}b*", VOCABULARY)
    automaton.check_length(3)
    with pytest.raises(UserError, match="has 3 characters, and length is 2"):
        automaton.check_length(2)


@pytest.mark.parametrize("depth", range(100, 400, 20))
def test_deep_nesting_is_followed_or_refused(depth):
    with suppress(UserError):
        assert Automaton("(" * depth + "a" + ")*" * depth, VOCABULARY).min_length == 0
