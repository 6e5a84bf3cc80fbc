"""Previews of samples, and documents without their end mark."""

from __future__ import annotations

import sys

import pytest
import torch
from test_generation_sampler import VOCABULARY, make_model

from charlstm.errors import UserError
from charlstm.generation import Sampling, TextRequest, generate, preview
from charlstm.generation.beam import beam_search
from charlstm.generation.controls import Controls
from charlstm.generation.streaming import stream
from charlstm.text.automaton import Automaton

PLAIN = Sampling(temperature=2.0)
MILD = Sampling(temperature=0.8)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("until", ["a", "\n", "bc"])
def test_leave_out_until_changes_only_the_text(direction, until):
    model = make_model(direction=direction)
    within, without = (
        generate(model, VOCABULARY, TextRequest("aaa", 60, until, leave_out_until=leave_out), PLAIN, 3, 8)
        for leave_out in (False, True)
    )
    assert any(sample.ended for sample in within)
    for one, other in zip(within, without, strict=True):
        assert (one.ended, one.log_probabilities) == (other.ended, other.log_probabilities)
        assert VOCABULARY.decode(one.ids) == one.full_text
        assert VOCABULARY.decode(other.ids) == other.full_text
        if not one.ended:
            assert one == other
        elif direction == "forward":
            assert one.text == other.text + until
        else:
            assert one.text == until + other.text
        assert until not in other.text or not one.ended


def test_preview_of_running_text_is_its_beginning():
    model = make_model()
    assert preview(model, VOCABULARY, 50, 4) == generate(model, VOCABULARY, TextRequest("", 50), MILD, 4)[0].full_text


@pytest.mark.parametrize("length", [1, 20, 60, 2000])
@pytest.mark.parametrize("end", ["a", "\n\n"])
def test_preview_of_documents_has_as_many_as_fit(length, end):
    model = make_model()
    texts = [
        s.full_text
        for s in generate(model, VOCABULARY, TextRequest("", length, end, leave_out_until=True), MILD, 4, 20)
    ]
    text = preview(model, VOCABULARY, length, 4, end)
    assert len(text) <= length
    count = next(n for n in range(1, 21) if end.join(texts[:n]) == text)
    assert count == 20 or len(end.join(texts[: count + 1])) > length


def test_preview_of_a_network_that_runs_away_is_empty(monkeypatch):
    """As a recall network with rectified units may, beyond the answer: training goes on."""

    def run_away(model, vocabulary, request, *rest):
        if request.length > 7:
            raise UserError("the model's probabilities are NaN")
        return generate(model, vocabulary, request, *rest)

    monkeypatch.setattr(sys.modules[preview.__module__], "generate", run_away)
    model = make_model()
    assert preview(model, VOCABULARY, 50, 4) == ""
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(UserError, match="too large"):
        preview(model, VOCABULARY, 50, 4)


def test_mark_may_be_longer_than_the_prompt():
    encoded = TextRequest("ab", 30, "abca", leave_out_until=True).encode(make_model(), VOCABULARY)
    assert encoded.ends(VOCABULARY.encode("ca").tolist())
    assert encoded.ends(VOCABULARY.encode("bbabca").tolist())
    assert not encoded.ends(VOCABULARY.encode("bca").tolist())
    assert not TextRequest("ab", 30, "abca").encode(make_model(), VOCABULARY).ends(VOCABULARY.encode("ca").tolist())


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_document_ends_with_the_rest_of_a_mark_that_the_prompt_begins(direction):
    """Its state must not be carried into another document."""
    model = make_model(direction=direction)
    prompt, mark = ("cab", "bc") if direction == "forward" else ("bac", "cb")
    samples = generate(model, VOCABULARY, TextRequest(prompt, 30, mark, leave_out_until=True), PLAIN, 3, 60)
    free = generate(model, VOCABULARY, TextRequest(prompt, 30), PLAIN, 3, 60)
    ended = [one for one, other in zip(samples, free, strict=True) if (mark in other.full_text)]
    assert all(one.ended and mark not in one.full_text for one in ended)
    assert 1 in {len(one.log_probabilities) for one in ended if not one.text}, "none ends with its first character"
    for seed in range(12):
        (sample,) = generate(model, VOCABULARY, TextRequest(prompt, 30, mark, leave_out_until=True), PLAIN, seed)
        pieces = stream(model, VOCABULARY, TextRequest(prompt, 30, mark, leave_out_until=True), PLAIN, seed)
        streamed = [i for piece in pieces for i in piece]
        assert streamed == list(sample.ids)[:: 1 if direction == "forward" else -1]
    beam = beam_search(model, VOCABULARY, TextRequest(prompt, 3, mark, leave_out_until=True), width=64, count=8)
    assert [one.ended for one in beam] == sorted((one.ended for one in beam), reverse=True)
    assert "" in [one.text for one in beam if one.ended]


def test_empty_texts_are_not_the_best():
    model = make_model()
    controls = Controls(automaton=Automaton("[ab]*", VOCABULARY, False))
    samples = generate(model, VOCABULARY, TextRequest("", 9, controls=controls), PLAIN, 3, 30)
    assert any(not one.text for one in samples)
    best = samples.best(30)
    written = [one for one in best if one.text]
    assert best[: len(written)] == written == sorted(written, key=lambda one: -one.score)
