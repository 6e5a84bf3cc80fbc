"""Units that are held while sampling."""

from __future__ import annotations

import pytest
import torch
from bracket_counter import COUNTER, VOCABULARY, bracket_counter
from test_recording import network

from charlstm.errors import UserError
from charlstm.generation import Sampling, TextRequest, generate
from charlstm.inspection.clamping import Clamp, sample_clamped
from charlstm.inspection.unit_scores import Unit
from charlstm.text.vocabulary import Vocabulary

SAMPLING = Sampling(temperature=0.7)


def test_counter_that_is_held_opens_or_never_closes():
    def clamp(value):
        return Clamp(Unit("c", 0, COUNTER), value)

    texts = sample_clamped(bracket_counter(), [], 60, SAMPLING, 1, [None, clamp(-4.0), clamp(4.0)])
    unchanged, never, always = (VOCABULARY.decode(ids) for ids in texts)
    assert ")" in unchanged
    depth = [unchanged[:n].count("(") - unchanged[:n].count(")") for n in range(len(unchanged))]
    assert min(depth) >= 0
    assert ")" not in never
    assert always.count(")") > 30 > unchanged.count(")")


@pytest.mark.parametrize("fields", [{"cell": "gru", "num_layers": 2}, {"cell": "lstm", "direction": "backward"}])
def test_unclamped_text_is_that_of_sample(fields):
    model, vocabulary = network(**fields), Vocabulary(tuple("abcde"))
    step = -1 if model.direction == "backward" else 1
    (ids,) = sample_clamped(model, vocabulary.encode("ab").tolist()[::step], 50, SAMPLING, 7, [None])
    (expected,) = generate(model, vocabulary, TextRequest("ab", 50), SAMPLING, 7)
    assert vocabulary.decode(ids[::step]) == expected.text


def test_clamped_value_reaches_the_next_layer():
    model = network(cell="rnn", num_layers=2)
    with torch.no_grad():
        model.recurrent.get_parameter("weight_ih_l1").zero_()
        model.recurrent.get_parameter("weight_ih_l1")[:, 3] = 100.0
        model.recurrent.get_parameter("weight_hh_l1").zero_()
        model.head.weight.zero_()
        model.head.weight[2] = 10.0
    low, high = sample_clamped(
        model, [], 20, Sampling(temperature=0), 1, [Clamp(Unit("h", 0, 3), value) for value in (-1.0, 1.0)]
    )
    assert 2 not in low
    assert high == [2] * 20


def test_clamped_cell_state_acts_on_the_output_at_once():
    """Also where the forget gate is closed, so that it does not last."""
    model = network(cell="lstm")
    with torch.no_grad():
        model.recurrent.get_parameter("bias_ih_l0")[6:12] = -100.0
        model.recurrent.get_parameter("bias_ih_l0")[18:] = 100.0
        model.head.weight.zero_()
        model.head.weight[2, 3] = 10.0
    low, high = sample_clamped(
        model, [], 20, Sampling(temperature=0), 1, [Clamp(Unit("c", 0, 3), value) for value in (-3.0, 3.0)]
    )
    assert 2 not in low
    assert high == [2] * 20


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (Unit("x", 0, 0), "'x' is not a part of the state of lstm, which has h, c"),
        (Unit("hc", 0, 0), "'hc' is not a part of the state of lstm, which has h, c"),
        (Unit("c", 2, 0), "there is no layer 3: the model has 2"),
        (Unit("c", 1, 6), "there is no unit 6: each layer has units 0 to 5"),
    ],
)
def test_missing_unit_is_refused(unit, message):
    with pytest.raises(UserError, match=message):
        sample_clamped(network(cell="lstm", num_layers=2), [], 1, SAMPLING, 1, [Clamp(unit, 0.0)])
