"""Gibbs chains equal encoding the full text, at the cost of one step of one stack per draw."""

from __future__ import annotations

import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.generation.gibbs_chains import GibbsChains
from charlstm.model import LanguageModel

V, T = 6, 12
MODELS = [
    {"cell": "rnn"},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "reset_after": False, "front_end": "embedding", "embedding_size": 4},
    {"cell": "peephole", "executor": "reference"},
]
POSITIONS = [[5], [0], [11], [0, 11], [4, 5, 6], [2, 3, 7, 10], list(range(T))]


def make_model(**options) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelConfig(**{"hidden_size": 7, "direction": "bidirectional", **options}), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
    return model.eval()


@torch.no_grad()
def full_logits(model: LanguageModel, text: torch.Tensor) -> torch.Tensor:
    """Logits [T, B, V] of every position given all others, by encoding the full text in both directions."""
    none = torch.full_like(text[:1], V)
    return model(torch.cat([none, text[:-1]]), following=torch.cat([text[1:], none]))[0]


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("options", MODELS, ids=str)
def test_every_draw_is_conditioned_on_the_current_text(options, positions):
    model, generator = make_model(**options), torch.Generator().manual_seed(1)
    initial_text = torch.randint(V, (T, 2), generator=generator)
    chains = GibbsChains(model, initial_text, positions, copies=3)
    text, visited = initial_text.repeat_interleave(3, 1), []
    text[positions] = V

    def draw(k, logits):
        torch.testing.assert_close(logits, full_logits(model, text)[positions[k]], rtol=1e-4, atol=1e-5)
        sampled = torch.randint(V, (6,), generator=generator)
        text[positions[k]] = sampled
        visited.append(k)
        return sampled

    for _ in range(4):
        chains.sweep(draw)
    order = list(range(len(positions)))
    assert visited == [*order, *order[::-1]] * 2
    assert torch.equal(chains.ids, text[positions])
    expected = full_logits(model, text)[positions].log_softmax(-1)
    torch.testing.assert_close(chains.conditionals(), expected, rtol=1e-4, atol=1e-5)


def test_conditionals_use_assigned_ids():
    model, text = make_model(), torch.arange(T)[:, None] % V
    chains = GibbsChains(model, text, [3, 4, 9])
    chains.ids.copy_(torch.tensor([[5], [5], [1]]))
    text[[3, 4, 9], 0] = torch.tensor([5, 5, 1])
    torch.testing.assert_close(
        chains.conditionals(), full_logits(model, text)[[3, 4, 9]].log_softmax(-1), rtol=1e-4, atol=1e-5
    )


def test_sweep_encodes_only_text_between_the_positions(monkeypatch):
    model, lengths = make_model(), []
    for name in ("encode", "encode_backward"):
        method = getattr(model, name)

        def recorded(ids, *rest, method=method):
            lengths.append(len(ids))
            return method(ids, *rest)

        monkeypatch.setattr(model, name, recorded)
    chains = GibbsChains(model, torch.zeros(500, 1, dtype=torch.int64), [200, 201, 210])
    lengths.clear()
    chains.sweep(lambda _, logits: logits.argmax(-1))
    assert lengths == [1, 9]
