from __future__ import annotations

import numpy as np
import pytest
import torch
from test_document_scores import make_documents
from test_evaluation_score import ids_of, make_model

from charlstm.errors import UserError
from charlstm.evaluation import score
from charlstm.evaluation.parts import beginning_and_rest
from charlstm.evaluation.temperature import scores_at, tuned_temperature


def test_scores_are_those_of_divided_logits():
    model, text = make_model(), ids_of(300)
    plain, hot = scores_at(model, text, [1.0, 2.0])
    assert plain.nats == pytest.approx(score(model, text).nats, rel=1e-5)
    with torch.no_grad():
        model.head.weight.div_(2)
        model.head.bias.div_(2)
    assert hot.nats == pytest.approx(score(model, text).nats, rel=1e-5)


def test_temperature_undoes_a_change_of_the_logits():
    model, text = make_model(), ids_of(300)
    with torch.no_grad():  # the text is random, so small logits are best: a temperature within the range must be best
        model.head.weight.mul_(0.02)
        model.head.bias.copy_(torch.from_numpy(np.bincount(text, minlength=len(model.head.bias)) + 1.0).log())
    before = tuned_temperature(model, text)
    with torch.no_grad():
        model.head.weight.mul_(1.5)
        model.head.bias.mul_(1.5)
    assert before == pytest.approx(1, abs=0.3)
    assert tuned_temperature(model, text) == pytest.approx(1.5 * before, rel=0.01)


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


def test_one_character_cannot_be_divided():
    with pytest.raises(UserError, match="too short"):
        beginning_and_rest(ids_of(1), 30)
