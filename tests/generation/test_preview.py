"""Previews of samples, and documents without their end mark."""

from __future__ import annotations

import pytest
from test_generation_sampler import VOCABULARY, make_model

from charlstm.generation import Sampling, TextRequest, generate, preview

PLAIN = Sampling(temperature=2.0)
MILD = Sampling(temperature=0.8)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("until", ["a", "\n", "bc"])
def test_leave_out_until_changes_only_the_text(direction, until):
    model = make_model(direction=direction)
    within, without = (
        generate(model, VOCABULARY, TextRequest("cab", 60, until, leave_out_until=leave_out), PLAIN, 3, 8)
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
