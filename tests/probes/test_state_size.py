"""The size of a state and its constant fraction, against values that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_models import assert_unchanged, every_kind, model, text

from charlstm.probes.reading import float64_copy, trajectory
from charlstm.probes.state_size import state_size


def test_constant_state():
    """Without weights, an RNN's state is tanh(b) after each character."""
    network = model(cell="rnn", num_layers=1)
    with torch.no_grad():
        for name, value in network.recurrent.named_parameters():
            if "weight" in name:
                value.zero_()
    bias = network.recurrent.bias_ih_l0 + network.recurrent.bias_hh_l0
    size = state_size(network, text(9, 3))
    assert size.constant_fraction["h"] == pytest.approx(1)
    assert size.rms["h"] == pytest.approx(float(bias.detach().tanh().double().square().mean().sqrt()))


def test_state_that_alternates():
    """With h = +-tanh(1) for two characters, as often as each other, nothing is constant."""
    network = model(cell="rnn", num_layers=1)
    with torch.no_grad():
        for value in network.recurrent.parameters():
            value.zero_()
        network.front_end.weight.zero_()
        network.front_end.weight[0, 0], network.front_end.weight[1, 0] = 1, -1
        network.recurrent.weight_ih_l0[:, 0] = 1
    size = state_size(network, torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]]))
    assert size.constant_fraction["h"] == pytest.approx(0, abs=1e-12)
    assert size.rms["h"] == pytest.approx(math.tanh(1))


@every_kind
def test_against_the_trajectory(fields):
    network = model(**fields)
    previous = text(7, 3)
    with assert_unchanged(network):
        size = state_size(network, previous)
    copy = float64_copy(network)
    for letter, values in trajectory(copy, previous, copy.initial_state(3)).items():
        h = values[1:].numpy()
        assert size.rms[letter] == pytest.approx(np.sqrt((h**2).mean()))
        means = h.mean((0, 2))
        assert size.constant_fraction[letter] == pytest.approx((means**2).mean() / (h**2).mean())
