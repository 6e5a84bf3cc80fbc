"""What predictions depend on, against brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bracket_counter import VOCABULARY, bracket_counter
from test_recording import IDS, MODELS, V, network
from torch.nn import functional as F

from charlstm.inspection.attribution import mean_by_distance, measure_attribution
from charlstm.inspection.recording import record

K = 6


def nats(model, ids):
    """-ln p of each of the ids, in the order in which they are read."""
    previous = torch.tensor([model.vocabulary_size, *ids[:-1]])[:, None]
    logits, _ = model(previous)
    return F.cross_entropy(logits[:, 0], torch.tensor(ids), reduction="none")


@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_replaced_characters_change_the_surprise_as_measured(fields, monkeypatch):
    """With a single other character to draw, the measure is exact."""
    monkeypatch.setattr("charlstm.inspection.attribution.WINDOWS", 7)
    model = network(**fields)
    ids = IDS % 2
    result = measure_attribution(model, record(model, ids), K).replaced
    order = record(model, ids).in_reading_order()
    read = [int(i) for i in ids[order]]
    with torch.no_grad():
        right = nats(model, read)
        for t in (0, 3, 12, len(ids) - 1):
            for k in range(1, K + 1):
                if k > t:
                    assert math.isnan(result[order[t], k - 1])
                    continue
                wrong = [*read]
                wrong[t - k] = 1 - wrong[t - k]
                change = (nats(model, wrong)[t] - right[t]) / math.log(2)
                assert result[order[t], k - 1] == pytest.approx(float(change), abs=1e-4)


@pytest.mark.parametrize("front_end", ["one_hot", "embedding"])
def test_gradient_is_that_of_the_input_vectors(front_end):
    model = network(cell="lstm", num_layers=2, front_end=front_end)
    result = measure_attribution(model, record(model, IDS), K).gradient
    previous = torch.tensor([V, *IDS[:-1]])[:, None]
    table = torch.eye(V) if front_end == "one_hot" else model.front_end.weight.detach()
    x = F.pad(table, (0, 0, 0, 1))[previous].requires_grad_()
    for t in (0, 2, 20, len(IDS) - 1):
        y, _ = model.recurrent(x)
        loss = F.cross_entropy(model.head(y[t]), torch.tensor(IDS[t : t + 1]))
        (gradient,) = torch.autograd.grad(loss, x)
        for k in range(1, K + 1):
            expected = float(gradient[t - k + 1].norm()) if k <= t else math.nan
            assert result[t, k - 1] == pytest.approx(expected, rel=1e-3, abs=1e-6, nan_ok=True)


def test_influence_ends_at_the_start_of_a_document():
    for direction in ("forward", "backward"):
        model = network(cell="gru", direction=direction)
        together = measure_attribution(model, record(model, IDS, (10, 30)), 8)
        alone = measure_attribution(model, record(model, IDS[10:30]), 8)
        np.testing.assert_allclose(together.gradient[10:30], alone.gradient, rtol=1e-4, atol=1e-6)
        assert (np.isnan(together.replaced[10:30]) == np.isnan(alone.replaced)).all()
        assert np.isnan(alone.replaced).sum() == 8 * 9 // 2


def test_a_small_gradient_is_not_rounded_to_zero():
    """The squares of its elements are zero in float32."""
    model = network(cell="rnn")
    with torch.no_grad():
        model.recurrent.get_parameter("weight_hh_l0").mul_(1e-5)
    gradient = measure_attribution(model, record(model, IDS), K).gradient
    assert (gradient[K:] > 0).all()
    assert gradient[K:, -1].max() < 1e-22


def test_the_mean_curve_is_over_the_scored_characters_with_context():
    values = np.array([[np.nan, np.nan, np.nan], [2e-20, np.nan, np.nan], [4e-20, 1.0, np.nan], [6.0, 7.0, np.nan]])
    assert mean_by_distance(values, np.array([True, True, True, False])) == pytest.approx([3e-20, 1.0], rel=1e-6)


def test_closing_bracket_leans_on_the_opening_one():
    text = "ab(abba)ab"
    model = bracket_counter()
    result = measure_attribution(model, record(model, VOCABULARY.encode(text)), 9).replaced
    at = text.index(")")
    assert np.nanargmax(result[at]) == at - text.index("(") - 1
    assert np.nanmax(result[at]) > 2


def test_every_replaced_character_is_another_one():
    """Of a text with one character in a hundred that differs, too."""
    model = network(cell="rnn")
    ids = np.zeros(100, np.int64)
    ids[50] = 1
    replaced = measure_attribution(model, record(model, ids), 1, draws=1).replaced[1:, 0]
    assert (replaced != 0).all()


def test_gradient_of_an_ablation_is_not_cut():
    model = network(cell="lstm", ablate="cell_gradient")
    cut = measure_attribution(model, record(model, IDS), K).gradient
    model.recurrent.cell = replace(model.recurrent.cell, stop_gradient="")
    np.testing.assert_allclose(cut, measure_attribution(model, record(model, IDS), K).gradient, rtol=1e-5)
