"""What a model expects at every place, against its logits one character at a time."""

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
    """-ln p of every symbol at every place, [N, V]."""
    previous, state, found = V, None, []
    for character in ids.tolist():
        logits, state = model(torch.tensor([[previous]]), state)
        found.append(-logits[0, 0].double().log_softmax(-1).numpy())
        previous = character
    return np.array(found)


@pytest.mark.parametrize("logits", [1, 40, 1 << 22])
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2}], ids=str)
def test_it_equals_the_logits_a_character_at_a_time(monkeypatch, options, logits):
    monkeypatch.setattr(head_loss, "LOGITS", logits)
    model, ids, symbols = make_model(**options), ids_of(300), (7, 0, 10)
    found, expected = predict_tokens(model, ids, symbols), naive(model, ids)
    np.testing.assert_allclose(found.nats, expected[np.arange(300), ids], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.symbol_nats, expected[:, symbols], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.right, expected.argmin(1) == ids)
    assert 0 < found.right.sum() < 300
    assert found.symbols == symbols


def test_a_long_text_is_read_as_the_score_reads_it():
    model, ids = make_model(), ids_of(3000)
    found = predict_tokens(model, ids)
    np.testing.assert_allclose(found.nats, nats_per_character(model, ids), rtol=1e-4, atol=1e-5)
    assert found.symbol_nats.shape == (3000, 0)


def test_all_symbols_together_are_certain():
    p = np.exp(-predict_tokens(make_model(), ids_of(40), range(V)).symbol_nats)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_a_model_that_has_seen_what_follows_is_refused(direction):
    with pytest.raises(UserError, match=f"direction: forward, found {direction}"):
        predict_tokens(make_model(direction=direction), ids_of(10))
