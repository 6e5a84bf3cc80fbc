"""Gaps are read as the whole text would be, at the cost of one step of one stack a draw."""

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
PLACES = [[5], [0], [11], [0, 11], [4, 5, 6], [2, 3, 7, 10], list(range(T))]


def make_model(**options) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelConfig(**{"hidden_size": 7, "direction": "bidirectional", **options}), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
    return model.eval()


@torch.no_grad()
def whole(model: LanguageModel, text: torch.Tensor) -> torch.Tensor:
    """Logits [T, B, V] of every place given all others, by reading the whole text both ways."""
    none = torch.full_like(text[:1], V)
    return model(torch.cat([none, text[:-1]]), following=torch.cat([text[1:], none]))[0]


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("options", MODELS, ids=str)
def test_every_draw_is_from_the_whole_text_as_it_then_stands(options, places):
    model, chance = make_model(**options), torch.Generator().manual_seed(1)
    given = torch.randint(V, (T, 2), generator=chance)
    chains = GibbsChains(model, given, places, copies=3)
    text, visited = given.repeat_interleave(3, 1), []
    text[places] = V

    def draw(k, logits):
        torch.testing.assert_close(logits, whole(model, text)[places[k]], rtol=1e-4, atol=1e-5)
        drawn = torch.randint(V, (6,), generator=chance)
        text[places[k]] = drawn
        visited.append(k)
        return drawn

    for _ in range(4):
        chains.sweep(draw)
    order = list(range(len(places)))
    assert visited == [*order, *order[::-1]] * 2
    assert torch.equal(chains.ids, text[places])
    expected = whole(model, text)[places].log_softmax(-1)
    torch.testing.assert_close(chains.conditionals(), expected, rtol=1e-4, atol=1e-5)


def test_conditionals_are_of_ids_that_were_set():
    model, text = make_model(), torch.arange(T)[:, None] % V
    chains = GibbsChains(model, text, [3, 4, 9])
    chains.ids.copy_(torch.tensor([[5], [5], [1]]))
    text[[3, 4, 9], 0] = torch.tensor([5, 5, 1])
    torch.testing.assert_close(
        chains.conditionals(), whole(model, text)[[3, 4, 9]].log_softmax(-1), rtol=1e-4, atol=1e-5
    )


def test_a_sweep_reads_only_what_lies_between_the_places(monkeypatch):
    model, read = make_model(), []
    for name in ("read", "read_backward"):
        method = getattr(model, name)

        def counted(ids, *rest, method=method):
            read.append(len(ids))
            return method(ids, *rest)

        monkeypatch.setattr(model, name, counted)
    chains = GibbsChains(model, torch.zeros(500, 1, dtype=torch.int64), [200, 201, 210])
    read.clear()
    chains.sweep(lambda _, logits: logits.argmax(-1))
    assert read == [1, 9]
