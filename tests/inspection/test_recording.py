"""Recordings equal what the model computes otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bracket_counter import COUNTER, VOCABULARY, bracket_counter, brackets

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.inspection.recording import record
from charlstm.model import LanguageModel

V = 5
IDS = np.random.default_rng(1).integers(0, V, 40)
MODELS = [
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "num_layers": 2, "residual": True},
    {"cell": "gru", "num_layers": 2, "output": "sum"},
    {"cell": "rnn"},
    {"cell": "peephole", "direction": "backward"},
    {"cell": "lstm", "front_end": "convolution", "embedding_size": 4, "kernel_sizes": [2, 3], "filters": 3},
]


def network(**fields) -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(ModelConfig(hidden_size=6, **fields), V)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(2)
    return model.eval()


@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_surprise_is_that_of_the_score(fields, monkeypatch):
    monkeypatch.setattr("charlstm.inspection.recording.CHUNK", 7)
    model = network(**fields)
    recording = record(model, IDS)
    np.testing.assert_allclose(recording.nats, nats_per_character(model, IDS), rtol=1e-4)
    np.testing.assert_allclose(recording.top_p.sum(1), 1, rtol=1e-6)  # all five symbols
    own = recording.top_p[recording.top == IDS[:, None]]
    np.testing.assert_allclose(-np.log(own), recording.nats, rtol=1e-6)
    assert (np.diff(recording.top_p) <= 0).all()


@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_states_are_those_after_each_character(fields):
    model = network(**fields)
    recording = record(model, IDS)
    order = recording.in_reading_order()
    previous = torch.tensor([V, *IDS[order]])[:, None]
    for steps in (1, 13, len(IDS)):
        _, state = model.encode(previous[: steps + 1])
        at = order[steps - 1]
        for part, values in zip(state, recording.states.values(), strict=False):
            np.testing.assert_allclose(values[at], part[:, 0].detach(), atol=1e-5)
        if steps < len(IDS):
            for part, before in zip(state, recording.before, strict=True):
                np.testing.assert_allclose(before[order[steps]], part.detach(), atol=1e-5)


def test_each_document_is_read_from_the_zero_state():
    for direction in ("forward", "backward"):
        model = network(cell="lstm", direction=direction)
        together = record(model, IDS, (15, 33))
        for a, b in ((0, 15), (15, 33), (33, 40)):
            alone = record(model, IDS[a:b])
            np.testing.assert_allclose(together.nats[a:b], alone.nats, rtol=1e-9)
            np.testing.assert_allclose(together.states["c"][a:b], alone.states["c"], atol=1e-6)
        assert together.starts == ((0, 15, 33) if direction == "forward" else (14, 32, 39))


def test_hand_set_unit_counts_brackets():
    text = "a(b(a)b)()"
    recording = record(bracket_counter(), VOCABULARY.encode(text))
    assert recording.states["c"][:, 0, COUNTER].tolist() == [0, 1, 1, 2, 2, 1, 1, 0, 1, 0]
    assert recording.gates["f"][:, 0, COUNTER].tolist() == [1] * 10
    assert (set(recording.states), set(recording.gates)) == ({"h", "c"}, {"i", "f", "o"})
    assert recording.half_lives[0, COUNTER] == np.inf
    assert record(bracket_counter(), VOCABULARY.encode(brackets(30))).nats[5:].mean() < np.log(4)


def test_bidirectional_model_is_refused():
    with pytest.raises(UserError, match="bidirectional"):
        record(network(direction="bidirectional"), IDS)


def test_half_life_is_that_of_the_mean_rate():
    recording = record(network(cell="gru", num_layers=2), IDS)
    expected = np.log(2) / -np.log(recording.gates["z"].astype(np.float64)).mean(0)
    np.testing.assert_allclose(recording.half_lives, expected, rtol=1e-4)
    assert record(network(cell="rnn"), IDS).half_lives is None


def test_half_lives_with_zoneout_are_those_of_the_probe():
    model = network(cell="lstm", num_layers=2, zoneout_c=0.4)
    recording = record(model, IDS)
    kept = 0.4 + 0.6 * recording.gates["f"].astype(np.float64)
    np.testing.assert_allclose(recording.half_lives, np.log(2) / -np.log(kept).mean(0), rtol=1e-4)
