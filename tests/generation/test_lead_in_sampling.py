"""Sampling after a lead-in is sampling after that text, without printing it."""

from __future__ import annotations

import pytest
from test_generation_sampler import VOCABULARY, make_model

from charlstm.generation import Sampling, TextRequest, generate, preview
from charlstm.generation.streaming import stream

LEAD_INS = [VOCABULARY.encode(text).tolist() for text in ("abc de\n", "fgh ab\n", "cab fa\n")]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_texts_equal_those_after_lead_in_and_prompt(direction):
    model = make_model(direction=direction)
    samples = generate(model, VOCABULARY, TextRequest("cab", 30, lead_ins=LEAD_INS), Sampling(0.0), 4, 5)
    for n, sample in enumerate(samples):
        lead_in = VOCABULARY.decode(LEAD_INS[(4 + n) % 3])
        prompt = "cab" + lead_in[::-1] if direction == "backward" else lead_in + "cab"
        (expected,) = generate(model, VOCABULARY, TextRequest(prompt, 30), Sampling(0.0), 4)
        assert (sample.prime, sample.text) == ("cab", expected.text)
        assert sample.log_probabilities == pytest.approx(expected.log_probabilities, rel=1e-4, abs=1e-5)
        assert VOCABULARY.decode(sample.ids) == sample.full_text
    assert len({sample.log_probabilities[0] for sample in samples}) == 3


def test_streamed_text_and_preview_have_the_same_lead_in():
    model, request = make_model(), TextRequest("ca", 40, lead_ins=LEAD_INS)
    (sample,) = generate(model, VOCABULARY, request, Sampling(0.8), 5)
    assert [i for piece in stream(model, VOCABULARY, request, Sampling(0.8), 5) for i in piece] == list(sample.ids)
    (sample,) = generate(model, VOCABULARY, TextRequest("", 40, lead_ins=LEAD_INS), Sampling(0.8), 5)
    assert preview(model, VOCABULARY, 40, 5, lead_ins=LEAD_INS) == sample.full_text
