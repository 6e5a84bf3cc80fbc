"""A mixture averages probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from replaying import ReplayedGraph
from test_generation_sampler import CONVOLUTION, VOCABULARY, make_model

from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.generation import Sampling, TextRequest, generate, step_decoder
from charlstm.generation.mixture import IncrementalMixture, Mixture, vocabulary_difference
from charlstm.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def models():
    return [make_model(), make_model(cell="gru", hidden_size=5, num_layers=2), make_model(cell="rnn", **CONVOLUTION)]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_log_probabilities_are_those_of_the_mean_probability(direction):
    models = [make_model(direction=direction), make_model(direction=direction, cell="gru", hidden_size=4)]
    for s in generate(Mixture(models), VOCABULARY, TextRequest("abc", 20), Sampling(1.2), seed=2, num_samples=2):
        nats = np.stack([nats_per_character(model, VOCABULARY.encode(s.full_text)) for model in models])
        expected = np.log(np.exp(-nats).mean(0))
        expected = expected[::-1][3:] if direction == "backward" else expected[3:]
        np.testing.assert_allclose(s.log_probabilities, expected, rtol=1e-3, atol=1e-4)


def test_mixture_of_equal_models_writes_the_same_text(models):
    for sampling in (Sampling(), Sampling(0), Sampling(0.7, 4, 0.9, 0.01)):
        alone, together = (
            generate(model, VOCABULARY, TextRequest("ab", 60), sampling, seed=4)[0]
            for model in (models[0], Mixture([models[0]] * 3))
        )
        assert alone.text == together.text


def test_step_of_a_mixture_can_be_captured(models, monkeypatch):
    expected = generate(Mixture(models), VOCABULARY, TextRequest("abc" * 5, 20), Sampling(0.8), seed=3, num_samples=2)
    monkeypatch.setattr(step_decoder, "CudaGraph", ReplayedGraph)
    assert (
        generate(Mixture(models), VOCABULARY, TextRequest("abc" * 5, 20), Sampling(0.8), seed=3, num_samples=2)
        == expected
    )


@torch.no_grad()
def test_mixture_continues_from_its_state(models):
    a, b = IncrementalMixture(Mixture(models), 2), IncrementalMixture(Mixture(models), 2)
    for ids in torch.tensor([[0, 1], [2, 3], [4, 5]]):
        a(ids)
    b.state = a.state
    torch.testing.assert_close(a(torch.tensor([6, 7])).clone(), b(torch.tensor([6, 7])))
    torch.testing.assert_close(b.logits.exp().sum(-1), torch.ones(2))


def test_directions_must_agree(models):
    with pytest.raises(UserError, match="direction: backward and forward cannot be averaged"):
        Mixture([models[0], make_model(direction="backward")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cba", ""),
        ("ab", "it lacks 'c'"),
        ("abc#", "it adds '#'"),
        ("ab#é", "it lacks 'c' and adds '#', 'é'"),
        ("abc01234567", "it adds '0', '1', '2', '3', '4', '5', '6', '7'"),
        ("abc0123456789", "it adds '0', '1', '2', '3', '4', '5', '6', '7' and 2 more"),
        (b"abc", "it reads bytes, not characters"),
    ],
)
def test_difference_of_vocabularies_is_named(text, expected):
    assert vocabulary_difference(Vocabulary.from_text("abc"), Vocabulary.from_text(text)) == expected
