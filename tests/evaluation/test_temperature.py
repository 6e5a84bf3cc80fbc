from __future__ import annotations

import numpy as np
import pytest
import torch
from test_document_scores import make_documents
from test_evaluation_score import ids_of, make_model

from charlstm.errors import UserError
from charlstm.evaluation import parts as parts_module
from charlstm.evaluation import score
from charlstm.evaluation.parts import beginning_and_rest
from charlstm.evaluation.temperature import scores_at, tuned_temperature
from charlstm.text.blocks import blocks


def test_scores_are_those_of_divided_logits():
    model, text = make_model(), ids_of(300)
    plain, hot = scores_at(model, text, [1.0, 2.0])
    assert plain.nats == pytest.approx(score(model, text).nats, rel=1e-5)
    with torch.no_grad():
        model.head.weight.div_(2)
        model.head.bias.div_(2)
    assert hot.nats == pytest.approx(score(model, text).nats, rel=1e-5)
    assert [one.is_pseudo_likelihood for one in scores_at(make_model(direction="bidirectional"), text, [1.0])] == [True]
    assert not plain.is_pseudo_likelihood


def test_temperature_undoes_a_change_of_the_logits():
    model, text = make_model(), ids_of(300)
    with torch.no_grad():  # the text is random, so small logits are best: a temperature within the range must be best
        model.head.weight.mul_(0.02)
        model.head.bias.copy_(torch.from_numpy(np.bincount(text, minlength=len(model.head.bias)) + 1.0).log())
    before = tuned_temperature(model, text)
    assert before == pytest.approx(1, abs=0.3)
    for factor in (1.5, 1.02, 1.02):  # the best is above or below the nearest of the temperatures tried first
        with torch.no_grad():
            model.head.weight.mul_(factor)
            model.head.bias.mul_(factor)
        before, after = before * factor, tuned_temperature(model, text)
        assert after == pytest.approx(before, rel=0.006)


def test_beginning_and_rest_are_the_whole_text():
    text = ids_of(100)
    beginning, rest, count = beginning_and_rest(text, 30)
    assert (len(beginning), count) == (30, 30)
    assert np.array_equal(np.concatenate([beginning, rest]), text)
    assert len(beginning_and_rest(text, 80)[0]) == 50
    documents = make_documents([10, 10, 10, 10, 10, 10])
    beginning, rest, count = beginning_and_rest(documents, 15)
    assert (len(beginning), len(rest), count) == (2, 4, 22)
    assert len(beginning_and_rest(documents, 1000)[0]) == 3


@pytest.mark.parametrize("characters", [1, 10, 15, 20, 1000])
@pytest.mark.parametrize("gap", [0, 2])
def test_blocks_of_a_running_text_are_divided_at_a_character(monkeypatch, characters, gap):
    monkeypatch.setattr(parts_module, "MAX_GAP", 3)
    text = blocks(ids_of(100), np.array([[5, 15], [20, 50], [60, 64]]), gap)
    *parts, count = beginning_and_rest(text, characters)
    assert count == min(characters, 22)
    assert [part.characters for part in parts] == [count, 44 - count]
    spans = [np.stack([part.scored, part.scored_ends], 1).tolist() for part in parts]
    counted = [position for part in spans for span in part for position in range(*span)]
    assert counted == [*range(5, 15), *range(20, 50), *range(60, 64)]
    for part in parts:
        assert (part.starts <= part.scored).all()
        assert (part.ends >= part.scored_ends).all()
    assert parts[0].ends[-1] == min(parts[0].scored_ends[-1] + 3, [15, 50][int(count > 10)] + gap)
    assert parts[1].starts[0] == max(parts[1].scored[0] - 3, [5, 20][int(count >= 10)] - gap)


def test_what_is_too_short_cannot_be_divided():
    for text in (ids_of(1), blocks(ids_of(9), np.array([[3, 4]]))):
        with pytest.raises(UserError, match="too short"):
            beginning_and_rest(text, 30)
    with pytest.raises(UserError, match="only one document"):
        beginning_and_rest(make_documents([100]), 30)
