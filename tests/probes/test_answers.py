"""Answers, against encoding each string alone, and for models with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes import answers as module
from charlstm.probes.answers import continual_reber_accuracy, reber_accuracy, score_answers
from charlstm.probes.tasks import ContinualReber, Counting, Reber, Recall
from charlstm.text.vocabulary import Vocabulary

RECALL = Vocabulary.from_text("ABCDEFGHabcdefghijklmnop?\n")
REBER = Vocabulary.from_text("BEPSTVX")


def make(vocabulary: Vocabulary, **options) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelConfig(**{"hidden_size": 9, **options}), vocabulary.size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def latch() -> LanguageModel:
    """An LSTM that stores a key forever: unit k becomes 1 at key k, and the forget gate is open."""
    model = make(RECALL, cell="lstm", hidden_size=8, front_end="one_hot")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        gates = model.recurrent.bias_hh_l0.view(4, 8)  # i, f, g, o
        gates[0], gates[1], gates[3] = -30, 30, 30
        weights = model.recurrent.weight_ih_l0.view(4, 8, RECALL.size)
        for unit, key in enumerate(RECALL.encode("ABCDEFGH").tolist()):
            weights[0, unit, key], weights[2, unit, key] = 60, 30
            model.head.weight[key, unit] = 10
    return model


@pytest.mark.parametrize("lag", [0, 5, 700])
def test_latch_recalls_over_any_lag(lag):
    strings = Recall(lag).strings(100, 1)
    result = score_answers(latch(), RECALL, strings, "?")
    assert result.correct.all()
    assert result.accuracy == result.character_accuracy == 1
    others = (RECALL.size - 1) * math.exp(-10 * math.tanh(1))
    assert result.nats == pytest.approx(math.log(1 + others), rel=1e-4)


def test_swapping_two_answers_of_a_latch_breaks_only_those():
    model, strings = latch(), Recall(20).strings(300, 2)
    a, b = RECALL.encode("AB").tolist()
    with torch.no_grad():
        model.head.weight[[a, b]] = model.head.weight[[b, a]].clone()
    result = score_answers(model, RECALL, strings, "?")
    assert result.correct.tolist() == [string[0] not in "AB" for string in strings]


def naive(model: LanguageModel, vocabulary: Vocabulary, string: str, first: int) -> tuple[list[bool], list[float]]:
    state, previous, right, nats = None, vocabulary.size, [], []
    with torch.no_grad():
        for position, character in enumerate(vocabulary.encode(string).tolist()):
            logits, state = model(torch.tensor([[previous]]), state)
            if position >= first:
                right.append(int(logits.argmax()) == character)
                nats.append(-float(logits[0, 0].double().log_softmax(0)[character]))
            previous = character
    return right, nats


@pytest.mark.parametrize(
    ("options", "mark"),
    [
        ({"cell": "gru"}, "b"),
        ({"front_end": "convolution"}, None),
        pytest.param({"cell": "gru"}, None, marks=pytest.mark.slow),
        pytest.param({"front_end": "convolution"}, "b", marks=pytest.mark.slow),
    ],
)
def test_batching_does_not_change_answers(monkeypatch, mark, options):
    vocabulary = Vocabulary.from_text("abc.")
    model = make(vocabulary, dropout=0.5, **options).eval()
    strings = Counting("abc", longest=12).strings(25, 1)
    expected = [naive(model, vocabulary, s, 0 if mark is None else s.index(mark) + 1) for s in strings]
    all_right = [hit for right, _ in expected for hit in right]
    assert 0 < sum(all_right) < len(all_right)
    for characters in (1, 60, 10_000):
        monkeypatch.setattr(module, "CHARACTERS", characters)
        actual = score_answers(model.train(), vocabulary, strings, mark)
        assert actual.correct.tolist() == [all(right) for right, _ in expected]
        assert actual.character_accuracy == pytest.approx(np.mean(all_right))
        assert actual.nats == pytest.approx(np.mean([x for _, nats in expected for x in nats]), rel=1e-5)


def constant_model(a: float, b: float) -> LanguageModel:
    """A model that always prefers T to P, or P to T."""
    model = make(REBER, cell="rnn", front_end="one_hot")
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[REBER.encode("TP")] = torch.tensor([a, b], dtype=torch.float32)
    return model


def test_constant_model_is_right_at_its_symbol():
    text = ContinualReber().text(3000, 1)
    key_positions = ContinualReber().repeated_key_positions(text)
    fraction = np.mean([text[position] == "T" for position in key_positions])
    assert continual_reber_accuracy(constant_model(1, 0), REBER, text).accuracy == pytest.approx(fraction)
    assert continual_reber_accuracy(constant_model(0, 1), REBER, text).accuracy == pytest.approx(1 - fraction)
    assert continual_reber_accuracy(constant_model(0, 1), REBER, text).positions == len(key_positions)


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"front_end": "convolution", "num_layers": 2}], ids=str)
@pytest.mark.parametrize("chunk", [1, 7, 128, 1000])
@pytest.mark.few(4)
def test_running_text_is_one_stream(monkeypatch, options, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    model, text = make(REBER, **options).eval(), ContinualReber().text(300, 2)
    state, previous, right, largest = None, REBER.size, [], 0.0
    key_positions = set(ContinualReber().repeated_key_positions(text).tolist())
    t, p = REBER.encode("TP").tolist()
    for position, character in enumerate(REBER.encode(text).tolist()):
        with torch.no_grad():
            logits, state = model(torch.tensor([[previous]]), state)
        largest = max(largest, float(state[0 if "gru" in options.values() else 1].abs().max()))
        if position in key_positions:
            right.append((logits[0, 0, t] > logits[0, 0, p]) == (character == t))
        previous = character
    result = continual_reber_accuracy(model, REBER, text)
    assert result.positions == len(right) > 10
    assert result.accuracy == pytest.approx(np.mean(right))
    assert result.max_abs_state == pytest.approx(largest, rel=1e-5)


def test_state_after_the_end_of_the_text_does_not_count():
    """The cell state counts the inputs that are no character: the first one."""
    model = make(REBER, cell="lstm", hidden_size=2, front_end="one_hot")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recurrent.bias_hh_l0.fill_(30)
        model.recurrent.weight_ih_l0.view(4, 2, REBER.size)[2] = -30
    result = continual_reber_accuracy(model, REBER, ContinualReber().text(300, 2))
    assert result.max_abs_state == pytest.approx(1)


@pytest.mark.parametrize("batch", [1, 20, 1000])
def test_repeated_keys_of_embedded_strings(monkeypatch, batch):
    monkeypatch.setattr(module, "CHARACTERS", batch)
    model, strings = make(REBER, cell="gru").eval(), Reber().strings(31, 1)
    t, p = REBER.encode("TP").tolist()
    right = []
    for string in strings:
        with torch.no_grad():
            logits = model(torch.tensor([[REBER.size], *([i] for i in REBER.encode(string[:-2]).tolist())]))[0][-1, 0]
        right.append((logits[t] > logits[p]) == (string[-2] == "T"))
    assert 0 < np.mean(right) < 1
    assert reber_accuracy(model, REBER, strings) == pytest.approx(np.mean(right))


def test_probing_has_no_side_effects():
    model = make(REBER, dropout=0.5).train()
    text = ContinualReber().text(200, 3)
    before, random_state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    first = score_answers(model, REBER, [text[:40], text[:9]], None), continual_reber_accuracy(model, REBER, text)
    second = score_answers(model, REBER, [text[:40], text[:9]], None), continual_reber_accuracy(model, REBER, text)
    assert first[0].nats == second[0].nats
    assert first[1] == second[1]
    assert model.training
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_other_directions_are_refused(direction):
    model, text = make(REBER, direction=direction), ContinualReber().text(30, 1)
    with pytest.raises(UserError, match=f"not {direction}"):
        score_answers(model, REBER, [text], None)
    with pytest.raises(UserError, match=f"not {direction}"):
        continual_reber_accuracy(model, REBER, text)


@pytest.mark.parametrize(
    ("strings", "mark", "complaint"),
    [
        ([], None, "no strings"),
        (["BT", "B"], "B", "'B' has nothing after 'B'"),
        (["T"], "X", "nothing"),
        (["B", ""], None, "empty"),
    ],
)
def test_what_has_no_answer_is_refused(strings, mark, complaint):
    with pytest.raises(ValueError, match=complaint):
        score_answers(make(REBER), REBER, strings, mark)


def test_unknown_characters_are_refused():
    with pytest.raises(UserError, match="not in the vocabulary"):
        score_answers(make(REBER), REBER, ["A?B"], "?")
    with pytest.raises(ValueError, match="no repeated key"):
        continual_reber_accuracy(make(REBER), REBER, "BT")
