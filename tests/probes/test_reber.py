"""The Reber grammar against a regular expression written from its published graph."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from itertools import product

import pytest

from charlstm.probes.tasks import ContinualReber, Reber

# B, then by T to the loop of S, or by P to the loop of T. From the upper path by X S to the end, or by X X down to the
# lower one; from the lower path by V V to the end, or by V P up to the last choice of the upper one.
UP, DOWN = "(?:S*X)", "(?:T*V)"
INNER = rf"B(?:T{UP}(?:X{DOWN}P)*(?:S|X{DOWN}V)|P{DOWN}(?:PX{DOWN})*(?:V|PS))E"
EMBEDDED = re.compile(rf"B(?:T{INNER}T|P{INNER}P)E")


def test_strings_follow_the_grammar_and_short_ones_all_occur():
    strings = Reber().strings(60_000, 1)
    assert all(EMBEDDED.fullmatch(string) for string in set(strings))
    short = {
        f"B{key}B{''.join(middle)}E{key}E"
        for length in range(3, 7)
        for middle in product("TPSXV", repeat=length)
        for key in "TP"
        if EMBEDDED.fullmatch(f"B{key}B{''.join(middle)}E{key}E")
    }
    assert min(map(len, short)) == 9
    assert {string for string in strings if len(string) <= 12} == short


def test_transitions_have_equal_probability():
    strings = Reber().strings(40_000, 2)
    assert sum(string[1] == "T" for string in strings) / 40_000 == pytest.approx(0.5, abs=0.01)
    assert sum(string[3] == "T" for string in strings) / 40_000 == pytest.approx(0.5, abs=0.01)
    assert strings.count("BTBTXSETE") / 40_000 == pytest.approx(1 / 16, abs=0.006)


def test_chance_and_baseline_match_the_strings():
    """ln 2 for each state with two transitions and for the repeated key, over the characters and the ends."""
    strings, reber = Reber().strings(40_000, 3), ContinualReber()
    choices = sum(len(allowed) == 2 for allowed in reber.allowed("".join(strings)))
    characters = sum(len(string) + 1 for string in strings)
    expected = (choices + len(strings)) * 0.693147 / characters
    assert Reber().baseline_nats == pytest.approx(expected, rel=0.01)
    assert Reber().chance == 0.5
    assert [Reber().answer(string) for string in strings[:99]] == [string[1] for string in strings[:99]]


def test_running_text_is_concatenated_strings():
    text = ContinualReber().text(5000, 4)
    assert len(text) == 5000
    assert text == ContinualReber().text(5000, 4) != ContinualReber().text(5000, 5)
    match = re.match(rf"(?:{EMBEDDED.pattern})+", text)
    assert match
    assert len(text) - match.end() < 100


def test_critical_positions_are_second_to_last_in_each_string():
    strings, positions, start = Reber().strings(50, 6), [], 0
    for string in strings:
        start += len(string)
        positions.append(start - 2)
    text = "".join(strings)
    assert ContinualReber().repeated_key_positions(text).tolist() == positions
    assert ContinualReber().repeated_key_positions(text[: positions[1]]).tolist() == positions[:1]
    assert ContinualReber().repeated_key_positions("").tolist() == []


def test_allowed_symbols_are_those_of_some_string():
    text, strings = "BPBTSSXXTVPSEPE", Reber().strings(60_000, 7)
    assert EMBEDDED.fullmatch(text)
    for position, allowed in enumerate(ContinualReber().allowed(text)):
        assert set(allowed) == {s[position] for s in strings if s.startswith(text[:position]) and len(s) > position}, (
            position
        )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("T", "'T' at position 0, expected B"), ("BTBTXSEPE", "'P' at position 7, expected T"), ("BX", "expected T or P")],
)
def test_a_text_of_another_grammar_is_refused(text, complaint):
    with pytest.raises(ValueError, match=f"not of the grammar: .*{complaint}"):
        ContinualReber().repeated_key_positions(text)


@pytest.mark.parametrize("least", [7, 10, 40])
def test_inner_strings_have_the_least_length(least):
    strings = Reber(least).strings(3000, 8)
    assert all(EMBEDDED.fullmatch(string) for string in strings)
    assert min(map(len, strings)) == least + 4
    assert sum(string[1] == "T" for string in strings) / 3000 == pytest.approx(0.5, abs=0.03)
    assert statistics.median(string.rindex("E", 0, -1) - 1 for string in strings) == pytest.approx(least + 2, abs=1)


def test_a_least_length_below_the_shortest_string_changes_nothing():
    assert Reber(5).strings(500, 9) == Reber().strings(500, 9)
    assert Reber(5).baseline_nats == pytest.approx(Reber().baseline_nats)


@pytest.mark.parametrize("least", [10, pytest.param(7, marks=pytest.mark.slow)])
def test_long_strings_have_their_probability_in_the_grammar(least):
    """Against strings of the unrestricted grammar of which the short ones are rejected."""
    drawn = Reber(least).strings(60_000, 10)
    rest = [string for string in Reber().strings(300_000, 11) if len(string) >= least + 4]
    frequencies, expected = Counter(drawn), Counter(rest)
    for string, number in expected.most_common(20):
        assert frequencies[string] / len(drawn) == pytest.approx(number / len(rest), abs=0.003)
    # A string with n choices has the probability 2^-n / p, with p the probability that a string is long enough.
    choices = [len(allowed) == 2 for allowed in ContinualReber().allowed("".join(rest))]
    entropy = sum(choices) / len(rest) * math.log(2) + math.log(len(rest) / 300_000)
    mean_length = sum(map(len, rest)) / len(rest)
    assert Reber(least).baseline_nats == pytest.approx((entropy + math.log(2)) / (mean_length + 1), rel=0.01)


def test_short_strings_are_few():
    strings = Reber().strings(60_000, 12)
    short = [string for string in strings if len(string) <= 20]
    assert len(short) / len(strings) == pytest.approx(0.97, abs=0.003)
    assert len(set(short)) <= 1036
    assert len({string for string in short if len(string) <= 14}) == 4 + 6 + 8 + 14 + 22 + 32
