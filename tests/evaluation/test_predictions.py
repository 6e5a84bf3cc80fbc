"""Token predictions against logits computed one character at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character, predict_tokens
from charlstm.model import LanguageModel, head_loss

V = 11


def make_model(**options) -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(ModelConfig(**{"hidden_size": 12, **options}), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
    return model


def ids_of(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(V, size=n).astype(np.uint16)


@torch.no_grad()
def naive(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """-ln p of every symbol at every position, [N, V]."""
    previous, state, result = V, None, []
    for character in ids.tolist():
        logits, state = model(torch.tensor([[previous]]), state)
        result.append(-logits[0, 0].double().log_softmax(-1).numpy())
        previous = character
    return np.array(result)


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2}], ids=str)
def test_predictions_equal_step_by_step_logits(monkeypatch, options):
    model, ids = make_model(**options), ids_of(300)
    expected = naive(model, ids)
    for logits in (1, 40, 1 << 22):
        monkeypatch.setattr(head_loss, "LOGITS", logits)
        actual = predict_tokens(model, ids)
        np.testing.assert_allclose(actual.nats, expected[np.arange(300), ids], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(actual.correct, expected.argmin(1) == ids)
        assert 0 < actual.correct.sum() < 300


def test_nats_of_a_long_text_equal_its_score():
    model, ids = make_model(), ids_of(3000)
    result = predict_tokens(model, ids)
    np.testing.assert_allclose(result.nats, nats_per_character(model, ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_only_forward_models_predict_tokens(direction):
    with pytest.raises(UserError, match=f"direction: forward, found {direction}"):
        predict_tokens(make_model(direction=direction), ids_of(10))
