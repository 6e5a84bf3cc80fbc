"""The size of a state and its constant fraction, against values that are known."""

from __future__ import annotations

import math

import pytest
import torch
from small_models import assert_unchanged, every_kind, model, text

from charlstm.model.eval_mode import eval_mode
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


def test_zero_state_has_no_constant_fraction():
    network = model(cell="rnn", num_layers=1)
    with torch.no_grad():
        for value in network.recurrent.parameters():
            value.zero_()
    size = state_size(network, text(9, 3))
    assert size.rms["h"] == 0
    assert math.isnan(size.constant_fraction["h"])


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
def test_text_in_two_halves(fields):
    """From the state that the first half leaves, the mean squares of both halves are those of the whole."""
    network, previous = model(**fields), text(8)
    with torch.no_grad(), eval_mode(network):
        _, state = network.encode(previous[:4])
    with assert_unchanged(network):
        whole, first = state_size(network, previous), state_size(network, previous[:4])
        second = state_size(network, previous[4:], state)
    for letter, rms in whole.rms.items():
        assert 2 * rms**2 == pytest.approx(first.rms[letter] ** 2 + second.rms[letter] ** 2, rel=1e-6)
        assert 0 <= whole.constant_fraction[letter] < 1
