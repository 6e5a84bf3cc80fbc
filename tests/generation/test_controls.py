"""Texts under control: schedules of the temperature, penalties for repetition, patterns."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from test_generation_sampler import VOCABULARY, FixedLogits, make_model

from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.generation import Sampling, TextRequest, controlled_decoder, generate, sampler
from charlstm.generation.controls import Controls
from charlstm.generation.repetition import BASE, MULTIPLIER, repetition_penalties
from charlstm.generation.streaming import stream
from charlstm.text.automaton import Automaton

PATTERN = r"[a-d]{2,}( [e-h]+)?\n?"


def matching(pattern=PATTERN, backward=False):
    return Controls(automaton=Automaton(pattern, VOCABULARY, backward))


EVERY = {
    "schedule": Controls(final_temperature=0.5),
    "no_repeat": Controls(no_repeat=3),
    "regex": matching(),
    "all": replace(matching(), final_temperature=0.5, no_repeat=3),
}
each_control = pytest.mark.parametrize("controls", EVERY.values(), ids=EVERY)


@each_control
def test_controlled_texts_have_the_scores_of_the_model(controls):
    model = make_model()
    for s in generate(model, VOCABULARY, TextRequest("ab", 30, controls=controls), seed=1, num_samples=3):
        nats = nats_per_character(model, VOCABULARY.encode(s.full_text))[2:]
        np.testing.assert_allclose(s.log_probabilities, -nats, rtol=1e-3, atol=1e-4)


@each_control
def test_streamed_text_is_the_controlled_text(controls):
    model, free, arguments = make_model(), TextRequest("ab", 30), (Sampling(0.8), 5)
    controlled = replace(free, controls=controls)
    (sample,) = generate(model, VOCABULARY, controlled, *arguments)
    assert [i for piece in stream(model, VOCABULARY, controlled, *arguments) for i in piece] == list(sample.ids)
    assert generate(model, VOCABULARY, controlled, *arguments) == [sample]
    assert generate(model, VOCABULARY, free, *arguments) != [sample]


@each_control
def test_memory_grows_with_what_is_written(controls):
    model, longest = make_model(), 10**12
    pieces = stream(model, VOCABULARY, TextRequest("ab", longest, controls=controls), Sampling(), 5)
    beginning = [i for piece in itertools.islice(pieces, 50) for i in piece]
    assert beginning[:2] == VOCABULARY.encode("ab").tolist()
    assert len(beginning) == 51 or controls.automaton


@each_control
def test_broken_weights_are_reported(controls):
    model = make_model()
    model.head.weight.data.fill_(math.nan)
    with pytest.raises(UserError, match="NaN"):
        generate(model, VOCABULARY, TextRequest("", 9, controls=controls))


@pytest.mark.parametrize(("length", "expected"), [(5, [1.2, 1.05, 0.9, 0.75, 0.6]), (2, [1.2, 0.6]), (1, [1.2])])
def test_temperature_changes_linearly_over_the_length(monkeypatch, length, expected):
    used, sample_ids = [], controlled_decoder.sample_ids

    def record(logits, sampling, draws):
        used.append(sampling)
        return sample_ids(logits, sampling, draws)

    monkeypatch.setattr(controlled_decoder, "sample_ids", record)
    generate(
        make_model(),
        VOCABULARY,
        TextRequest("", length, controls=Controls(final_temperature=0.6)),
        Sampling(1.2, top_k=3),
    )
    assert [sampling.temperature for sampling in used] == pytest.approx(expected)
    assert {sampling.top_k for sampling in used} == {3}


def test_schedule_between_equal_temperatures_is_none():
    scheduled, constant = (
        generate(make_model(), VOCABULARY, TextRequest("a", 50, controls=controls), Sampling(0.7))
        for controls in (Controls(final_temperature=0.7), Controls())
    )
    assert scheduled == constant


def test_schedule_may_end_greedily():
    (s,) = generate(make_model(), VOCABULARY, TextRequest("", 9, controls=Controls(final_temperature=0)), Sampling(1))
    assert len(s.text) == 9


@pytest.mark.parametrize("options", [{"final_temperature": -1}, {"final_temperature": math.nan}, {"no_repeat": -1}])
def test_controls_out_of_range_are_refused(options):
    with pytest.raises(UserError, match="must be 0"):
        Controls(**options)


# repetition


def penalties(text, no_repeat):
    values = repetition_penalties(VOCABULARY.encode(text), no_repeat, VOCABULARY.size)
    return {VOCABULARY.symbols[i]: float(values[i]) for i in np.flatnonzero(values)}


@pytest.mark.parametrize(
    ("text", "no_repeat", "expected"),
    [
        ("", 2, {}),
        ("abcd", 1, {}),
        ("abcdabc", 4, {}),
        ("abcdabc", 3, {"d": 0}),
        ("abcdabc", 1, {"d": 2}),
        ("bcdabcabc", 2, {"d": 0, "a": 1}),  # of two earlier passages the longer one
        ("aaaa", 2, {"a": 1}),
    ],
)
def test_penalty_grows_with_the_length_of_the_repeat(text, no_repeat, expected):
    assert penalties(text, no_repeat) == pytest.approx({c: MULTIPLIER * BASE**k for c, k in expected.items()})


def longest_repeat(text):
    return max(n for n in range(len(text)) if any(text[k : k + n] in text[k + 1 :] for k in range(len(text) - n)))


def test_greedy_loop_ends():
    free, controlled = (
        generate(make_model(), VOCABULARY, TextRequest("ab", 120, controls=Controls(no_repeat=n)), Sampling(0))[0].text
        for n in (0, 5)
    )
    assert longest_repeat(free) > 60
    assert longest_repeat(controlled) < 25


def test_passages_of_the_prompt_are_not_repeated():
    model, prompt = make_model(), "abcdefgh" * 3
    free, controlled = (
        generate(model, VOCABULARY, TextRequest(prompt, 1, controls=Controls(no_repeat=n)), Sampling(0))[0]
        for n in (0, 1)
    )
    (again,) = generate(
        model, VOCABULARY, TextRequest(prompt + free.text + prompt, 1, controls=Controls(no_repeat=1)), Sampling(0)
    )
    assert controlled.text != "a"
    assert again.text != free.text


# patterns


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("pattern", [PATTERN, "a{3}|b", "(ab|c)*d", "[^a]{4,}", "a?"])
@pytest.mark.parametrize("temperature", [1.5, 0])
def test_every_text_matches_within_the_length(direction, pattern, temperature):
    model = make_model(direction=direction)
    controls = matching(pattern, direction == "backward")
    for s in generate(model, VOCABULARY, TextRequest("h", 7, controls=controls), Sampling(temperature), 3, 20):
        assert re.fullmatch(pattern, s.text)
        assert len(s.text) == len(s.log_probabilities) <= 7
        assert s.ended


def test_text_ends_as_often_as_the_model_leaves_the_pattern(monkeypatch):
    monkeypatch.setattr(sampler, "IncrementalModel", FixedLogits)
    samples = generate(make_model(), VOCABULARY, TextRequest("", 40, controls=matching("[a-c]*")), Sampling(), 1, 500)
    p = FixedLogits.logits.softmax(-1)[VOCABULARY.encode("abc")].sum().item()
    mean, deviation = p / (1 - p), math.sqrt(p) / (1 - p)
    assert abs(np.mean([len(s.text) for s in samples]) - mean) < 4 * deviation / math.sqrt(500)


def test_end_of_a_document_ends_a_text_that_matches():
    endless = TextRequest("", 30, controls=matching("(?s)a.*"))
    request, options = replace(endless, until=" \n", leave_out_until=True), {"num_samples": 30}
    samples = generate(make_model(), VOCABULARY, request, Sampling(2.0), **options)
    assert not any(" \n" in s.text for s in samples)
    assert any(len(s.text) < 30 and s.text.endswith(" ") for s in samples)
    assert any(" \n" in s.text for s in generate(make_model(), VOCABULARY, endless, Sampling(2.0), **options))


def test_pattern_that_needs_a_longer_text_is_refused():
    arguments = (make_model(), VOCABULARY, TextRequest("", 2, controls=matching("abc")), Sampling(), 1)
    for write in (generate, stream):
        with pytest.raises(UserError, match="has 3 characters, and length is 2"):
            write(*arguments)
