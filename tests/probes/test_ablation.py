"""Ablation of single units, on a latch whose units are known and against one step at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from latch import latch
from small_models import assert_unchanged, every_kind, model, text
from torch.nn import functional as F

from charlstm.errors import UserError
from charlstm.probes import ablation
from charlstm.probes.ablation import ablate_units
from charlstm.text.vocabulary import Vocabulary


def test_latch_needs_the_units_of_its_keys_at_the_answer_alone():
    vocabulary = Vocabulary(tuple("?ABCDab"))
    ids = torch.from_numpy(np.stack([vocabulary.encode(string) for string in ("AabbaB?A", "BbabbA?B")], 1))
    ids[5] = int(vocabulary.encode("a")[0])
    chosen = torch.zeros(7, 2, dtype=torch.bool)
    chosen[-1] = True
    result = ablate_units(latch(vocabulary, "ABCD"), ids, chosen)
    assert result.change.shape == (1, 4)
    assert (result.change[0, :2] > 0.1).all()
    np.testing.assert_allclose(result.change[0, 2:], 0, atol=1e-12, err_msg="C and D do not occur")
    assert result.loss < 0.01


@every_kind
def test_loss_of_the_intact_network_is_the_ordinary_one(fields):
    network, ids = model(**fields), text(6)
    chosen = torch.arange(15).view(5, 3) % 2 == 0
    with assert_unchanged(network):
        result = ablate_units(network, ids, chosen)
    network.eval()
    logits, _ = network(ids[:-1])
    nats = F.cross_entropy(logits.flatten(0, 1), ids[1:].flatten(), reduction="none").view(5, 3)
    assert result.loss == pytest.approx(nats[chosen].mean().item())
    assert result.loss_elsewhere == pytest.approx(nats[~chosen].mean().item())
    assert np.isfinite(result.change).all()
    assert np.isfinite(result.change_elsewhere).all()
    assert result.change.shape == (network.recurrent.num_layers, 6)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "peephole"])
@torch.no_grad()
def test_held_unit_equals_overwriting_the_state_after_each_step(cell):
    network, ids = model(cell=cell, num_layers=1), text(6)
    chosen = torch.ones(5, 3, dtype=torch.bool)
    chosen[0] = False
    result = ablate_units(network, ids, chosen)
    network.eval()
    states, state = [], network.initial_state(3)
    for row in ids[:-1]:
        state = network.encode(row[None], state)[1]
        states.append(state)
    means = [torch.stack(part).mean((0, 2)) for part in zip(*states, strict=True)]
    for unit in range(6):
        losses, state = [], network.initial_state(3)
        for row, target in pairwise(ids):
            state = network.encode(row[None], state)[1]
            for part, mean in zip(state, means, strict=True):
                part[0, :, unit] = mean[0, unit]
            losses.append(F.cross_entropy(network.head(state[0][0]), target, reduction="none"))
        expected = torch.stack(losses)[chosen].mean().item()
        assert result.loss + result.change[0, unit] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_unit_that_nothing_reads_does_not_matter(cell):
    network, ids = model(cell=cell), text(8)
    with torch.no_grad():
        network.recurrent.get_parameter("weight_hh_l0")[:, 2] = 0
        network.recurrent.get_parameter("weight_ih_l1")[:, 2] = 0
    result = ablate_units(network, ids, torch.ones(7, 3, dtype=torch.bool))
    assert abs(result.change[0, 2]) < 1e-12
    assert (np.delete(np.abs(result.change).ravel(), 2) > 1e-9).all()
    assert np.isnan(result.loss_elsewhere)


def test_units_ablated_at_once_do_not_change_the_result(monkeypatch):
    network, ids, chosen = model(cell="lstm"), text(6), torch.ones(5, 3, dtype=torch.bool)
    expected = ablate_units(network, ids, chosen)
    monkeypatch.setattr(ablation, "UNITS", 5)
    np.testing.assert_allclose(ablate_units(network, ids, chosen).change, expected.change, atol=1e-12)


def test_invalid_masks_are_refused():
    network, ids = model(cell="gru"), text(6)
    for mask in (torch.ones(6, 3, dtype=torch.bool), torch.zeros(5, 3, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"a mask of \[5, 3\] with at least one position"):
            ablate_units(network, ids, mask)
    with pytest.raises(UserError, match="bidirectional"):
        ablate_units(model(direction="bidirectional"), ids, torch.ones(5, 3, dtype=torch.bool))
