"""The Reber grammar against the graph as drawn, written out here once more as a regular expression."""

from __future__ import annotations

import re
from itertools import product

import pytest

from charlstm.probes.tasks import ContinualReber, Reber

# B, then by T to the loop of S, or by P to the loop of T. From the upper way by X S to the end, or by X X down to the
# lower one; from the lower one by V V to the end, or by V P up to where the upper one chooses again.
UP, DOWN = "(?:S*X)", "(?:T*V)"
INNER = rf"B(?:T{UP}(?:X{DOWN}P)*(?:S|X{DOWN}V)|P{DOWN}(?:PX{DOWN})*(?:V|PS))E"
EMBEDDED = re.compile(rf"B(?:T{INNER}T|P{INNER}P)E")


def test_every_string_is_of_the_grammar_and_no_short_one_is_missing():
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


def test_each_way_is_taken_half_of_the_time():
    strings = Reber().strings(40_000, 2)
    assert sum(string[1] == "T" for string in strings) / 40_000 == pytest.approx(0.5, abs=0.01)
    assert sum(string[3] == "T" for string in strings) / 40_000 == pytest.approx(0.5, abs=0.01)
    assert strings.count("BTBTXSETE") / 40_000 == pytest.approx(1 / 16, abs=0.006)


def test_figures_are_those_of_the_strings():
    """ln 2 for each place with two ways and for the critical symbol, over the characters and the ends."""
    strings, reber = Reber().strings(40_000, 3), ContinualReber()
    choices = sum(len(allowed) == 2 for allowed in reber.allowed("".join(strings)))
    characters = sum(len(string) + 1 for string in strings)
    expected = (choices + len(strings)) * 0.693147 / characters
    assert Reber().baseline_nats == pytest.approx(expected, rel=0.01)
    assert Reber().chance == 0.5
    assert [Reber().answer(string) for string in strings[:99]] == [string[1] for string in strings[:99]]


def test_a_running_text_is_strings_without_a_gap():
    text = ContinualReber().text(5000, 4)
    assert len(text) == 5000
    assert text == ContinualReber().text(5000, 4) != ContinualReber().text(5000, 5)
    whole = re.match(rf"(?:{EMBEDDED.pattern})+", text)
    assert whole
    assert len(text) - whole.end() < 100


def test_critical_places_are_the_second_to_last_of_each_string():
    strings, places, start = Reber().strings(50, 6), [], 0
    for string in strings:
        start += len(string)
        places.append(start - 2)
    text = "".join(strings)
    assert ContinualReber().critical(text).tolist() == places
    assert ContinualReber().critical(text[: places[1]]).tolist() == places[:1]
    assert ContinualReber().critical("").tolist() == []


def test_what_is_allowed_is_what_some_string_goes_on_with():
    text, strings = "BPBTSSXXTVPSEPE", Reber().strings(60_000, 7)
    assert EMBEDDED.fullmatch(text)
    for place, allowed in enumerate(ContinualReber().allowed(text)):
        assert set(allowed) == {s[place] for s in strings if s.startswith(text[:place]) and len(s) > place}, place


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("T", "'T' at place 0, where B may stand"), ("BTBTXSEPE", "'P' at place 7, where T may"), ("BX", "where T or P")],
)
def test_a_text_of_another_grammar_is_refused(text, complaint):
    with pytest.raises(ValueError, match=f"not of the grammar: .*{complaint}"):
        ContinualReber().critical(text)
