"""Beam search finds the most probable texts."""

from __future__ import annotations

import math
import re
from itertools import product

import pytest
import torch
from test_generation_sampler import make_model

from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.generation import Sampling, TextRequest, generate
from charlstm.generation.beam import beam_search
from charlstm.generation.controls import Controls
from charlstm.generation.mixture import Mixture
from charlstm.text.automaton import Automaton
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abc\n")
LENGTH = 3
TEXTS = ["".join(text) for length in range(LENGTH + 1) for text in product(VOCABULARY.symbols, repeat=length)]
EXHAUSTIVE = 4**LENGTH


@pytest.fixture(scope="module")
def model():
    return make_model(VOCABULARY.size)


@pytest.fixture(scope="module")
def log_p(model):
    """ln p of every short text after the prompt "ab"."""
    nats = {text: nats_per_character(model, VOCABULARY.encode("ab" + text))[2:] for text in TEXTS}
    return {text: -float(values.sum()) for text, values in nats.items()}


def best(scores, count):
    return sorted(scores, key=scores.get, reverse=True)[:count]


def search(model, width=8, count=1, **options):
    return beam_search(model, VOCABULARY, TextRequest("ab", LENGTH, **options), width, count)


def test_wide_beam_finds_the_most_probable_texts(model, log_p):
    samples = search(model, width=EXHAUSTIVE, count=5)
    scores = {text: log_p[text] for text in TEXTS if len(text) == LENGTH}
    assert [s.text for s in samples] == best(scores, 5)
    assert sum(samples[0].log_probabilities) == pytest.approx(log_p[samples[0].text], rel=1e-4)
    assert search(model, width=EXHAUSTIVE, count=5) == samples


def test_narrow_beam_is_greedy():
    model = make_model(VOCABULARY.size, direction="backward")
    (s,) = beam_search(model, VOCABULARY, TextRequest("ab", 40), width=1)
    assert s.full_text == generate(model, VOCABULARY, TextRequest("ab", 40), Sampling(0))[0].full_text


def test_ended_texts_are_ranked_by_the_mean_and_come_first(model, log_p):
    samples = search(model, width=EXHAUSTIVE, count=12, until="\n", leave_out_until=True)
    ended = {text[:-1]: log_p[text] / len(text) for text in TEXTS if text.find("\n") == len(text) - 1 and text}
    assert [s.text for s in samples if s.ended] == best(ended, 12)
    wide = search(model, width=EXHAUSTIVE, count=20, until="\n", leave_out_until=True)
    assert [s.ended for s in wide] == [True] * len(ended) + [False] * (20 - len(ended))


def test_search_stops_when_no_text_can_be_better():
    model, steps = make_model(VOCABULARY.size), []
    with torch.no_grad():
        model.head.bias[0] += 12  # of the newline
    (s,) = beam_search(model, VOCABULARY, TextRequest("", 500, until="\n"), 4, on_chunk=lambda: steps.append(1))
    assert s.text == "\n"
    assert len(steps) < 20


@pytest.mark.parametrize("pattern", ["[ab]+c?", "[ab]+c"])
def test_pattern_restricts_the_search(model, log_p, pattern):
    controls = Controls(automaton=Automaton(pattern, VOCABULARY))
    matching = {text for text in TEXTS if re.fullmatch(pattern, text)}
    scores = {}
    for text in matching:
        longer = [other for other in matching if len(other) == len(text) + 1 and other[:-1] == text]
        p_end = 1 - sum(math.exp(log_p[other] - log_p[text]) for other in longer)
        scores[text] = (log_p[text] + math.log(p_end)) / (len(text) + 1) if longer else log_p[text] / len(text)
    samples = search(model, width=EXHAUSTIVE, count=9, controls=controls)
    assert [s.text for s in samples] == best(scores, 9)
    assert len(search(model, width=EXHAUSTIVE, count=EXHAUSTIVE, controls=controls)) == len(matching)


def test_no_repeat_and_mixtures_work_in_a_search(model):
    free, controlled = (
        beam_search(model, VOCABULARY, TextRequest("", 60, controls=Controls(no_repeat=n)), width=4)[0] for n in (0, 4)
    )
    assert max(free.text.count(free.text[k : k + 20]) for k in range(40)) > 1
    assert max(controlled.text.count(controlled.text[k : k + 20]) for k in range(40)) == 1
    expected = -nats_per_character(model, VOCABULARY.encode(controlled.text))
    assert controlled.log_probabilities == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-4)
    assert search(Mixture([model, model]), width=4)[0].text == search(model, width=4)[0].text


def test_empty_text(model):
    (s,) = beam_search(model, VOCABULARY, TextRequest("ab", 0))
    assert (s.text, s.score) == ("", 0)


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 2, "count": 3}, {"count": 0}, {"length": -1}], ids=str)
def test_values_out_of_range_are_refused(model, options):
    with pytest.raises(UserError, match="the beam must be 1 or wider"):
        beam_search(model, VOCABULARY, TextRequest("ab", options.pop("length", 3)), **options)


def test_schedule_is_refused(model):
    with pytest.raises(UserError, match="no temperature"):
        search(model, controls=Controls(final_temperature=0.5))
