"""Dynamic evaluation scores each segment before it learns from it, and moves the weights as the papers say."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_document_scores import make_documents
from test_evaluation_score import V, ids_of, make_model
from torch.nn import functional as F

from charlstm.errors import UserError
from charlstm.evaluation import Score, score
from charlstm.evaluation import dynamic as module
from charlstm.evaluation.dynamic import DynamicEvaluation, Rates
from charlstm.text.blocks import blocks

SEGMENT = 7


def naive(model, train, text, rule, rate, decay) -> float:
    """The equations of the module's docstring, one character at a time through torch's autograd."""
    model = copy.deepcopy(model).eval()
    weights, trained = list(model.parameters()), [p.detach().clone() for p in model.parameters()]

    def segments(ids):
        previous, state = V, None
        for begin in range(0, len(ids), SEGMENT):
            losses = []
            for character in ids[begin : begin + SEGMENT].tolist():
                logits, state = model(torch.tensor([[previous]]), state)
                losses.append(F.cross_entropy(logits[0], torch.tensor([character])))
                previous = character
            state = tuple(part.detach() for part in state)
            loss = torch.stack(losses).mean()
            yield float(loss.detach()) * len(losses), torch.autograd.grad(loss, weights)

    gradients = [g for _, g in segments(train)]
    rms = [torch.stack(each).square().mean(0).sqrt() for each in zip(*gradients, strict=True)]
    mean = torch.cat([r.flatten() for r in rms]).mean()
    total = 0.0
    for nats, gradients in segments(text):
        total += nats
        with torch.no_grad():
            for w, w0, g, r in zip(weights, trained, gradients, rms, strict=True):
                if rule == "rms":
                    change = -rate * g / (r + module.EPSILON * mean) + (decay * r / mean).clamp(max=1) * (w0 - w)
                else:
                    change = -rate * g + min(decay, 1) * (w0 - w)
                w += change
    return total / len(text)


@pytest.mark.parametrize(("rule", "rate", "decay"), [("rms", 2e-3, 0.5), ("sgd", 0.3, 0.5), ("sgd", 0.3, 1.9)])
def test_weights_follow_the_published_equations(rule, rate, decay):
    """The weights return at most to those of the trained model."""
    model, train, text = make_model(), ids_of(60), ids_of(50)
    result = DynamicEvaluation(model, train, rule, SEGMENT).score(text, Rates(rate, decay))
    assert result.nats == pytest.approx(naive(model, train, text, rule, rate, decay), rel=1e-5)
    assert abs(result.nats - score(model, text).nats) > 1e-3  # the updates matter
    assert result.characters == len(text)


ANSWERS = replace(make_documents([60] * 20), scored=make_documents([60] * 20).ends - 5)
"""Documents of which the last five characters and the end count."""


@pytest.mark.parametrize(
    "text", [ids_of(90), make_documents([3, 30, 1, 9]), ANSWERS], ids=["running", "documents", "answers"]
)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_rate_zero_gives_the_static_score(direction, text):
    model = make_model(direction=direction)
    assert DynamicEvaluation(model, text, "sgd", SEGMENT).score(text, Rates(0.0, 0.0)).nats == pytest.approx(
        score(model, text).nats, rel=1e-5
    )


def test_characters_are_scored_before_they_are_learned():
    model, text = make_model(), ids_of(40)
    result = DynamicEvaluation(model, text, "sgd", segment=40).score(text, Rates(0.5, 0.0))
    assert result.nats == pytest.approx(score(model, text).nats, rel=1e-5)


def test_text_unlike_the_training_text_becomes_easier():
    model, strange = make_model(), np.tile(np.array([1, 9, 4, 4], np.uint16), 60)
    evaluation = DynamicEvaluation(model, ids_of(300), "rms", SEGMENT)
    assert evaluation.score(strange, Rates(1e-2, 1e-3)).nats < 0.7 * score(model, strange).nats


def test_model_and_random_state_stay_unchanged():
    model, text = make_model(dropout=0.5), ids_of(40)
    weights, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    evaluation = DynamicEvaluation(model, text, "rms", SEGMENT)
    first = evaluation.score(text, Rates(1e-2, 1e-3))
    assert evaluation.score(text, Rates(1e-2, 1e-3)) == first
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (ids_of(60), 60, 60),
        (ids_of(9000), 980, 1010),
        (blocks(ids_of(9000), np.array([[10, 8990]])), 980, 1010),
        (blocks(ids_of(9000), np.array([[10, 2000], [2500, 5000], [5001, 8990]]), gap=3), 980, 1010),
        (make_documents([4000, 5000]), 200, 210),
        (make_documents([300] * 30), 1000, 1100),
        (make_documents([9] * 900), 900, 1150),
        (replace(make_documents([300] * 30), scored=make_documents([300] * 30).ends - 5), 3000, 3020),
    ],
    ids=["short", "running", "file", "blocks", "books", "pages", "lines", "answers"],
)
def test_gradients_are_measured_on_a_sample_of_the_training_text(monkeypatch, text, least, most):
    monkeypatch.setattr(module, "STATISTICS", 1000)
    monkeypatch.setattr(module, "STRETCHES", 10)
    read: list[int] = []
    DynamicEvaluation(make_model(), text, "rms", 20, read.append)
    assert least <= sum(read) <= most
    starts = module._stretches(text).starts
    assert most < 980 or np.ptp(starts) > 6000, "they are not spread over the text"


def test_search_ends_where_no_neighbor_is_better(monkeypatch):
    tried = []

    def nats(self, text, rates):
        tried.append(rates)
        if rates.rate > 0.05:
            raise UserError("diverged")
        return Score(abs(np.log(rates.rate / 0.01)) + abs(np.log(rates.decay / 0.25)), 10)

    evaluation = DynamicEvaluation(make_model(), ids_of(40), "sgd", SEGMENT)
    monkeypatch.setattr(DynamicEvaluation, "score", nats)
    best = evaluation.tune(ids_of(10))
    assert best == min(tried, key=lambda r: abs(np.log(r.rate / 0.01)) + abs(np.log(r.decay / 0.25)))
    assert len(set(tried)) == len(tried)


def test_search_does_not_follow_gains_that_do_not_matter(monkeypatch):
    tried = []

    def nats(self, text, rates):
        tried.append(rates)
        assert len(tried) < 9
        return Score(2 - 1e-5 * np.log(rates.rate), 10)

    evaluation = DynamicEvaluation(make_model(), ids_of(40), "sgd", SEGMENT)
    monkeypatch.setattr(DynamicEvaluation, "score", nats)
    assert evaluation.tune(ids_of(10)) == module.STARTS["sgd"]


@pytest.mark.parametrize(("rate", "shown"), [(1e6, r"1e\+06"), (float("inf"), "inf")], ids=["large", "not a number"])
def test_diverging_weights_are_an_error(rate, shown):
    with pytest.raises(UserError, match=rf"diverged after .* at rate {shown}"):
        DynamicEvaluation(make_model(), ids_of(40), "sgd", SEGMENT).score(ids_of(90), Rates(rate, 0.0))


def test_bidirectional_model_is_refused():
    with pytest.raises(UserError, match="one direction, found bidirectional"):
        DynamicEvaluation(make_model(direction="bidirectional"), ids_of(40))
