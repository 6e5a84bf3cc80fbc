"""Short-term memory capacity, on delay lines and on networks without memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import assert_unchanged, every_kind, model, text

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes.capacity import capacity, random_texts

V = 4


def delay_line(taps: int, nonlinearity: str = "relu", scale: float = 1.0) -> LanguageModel:
    """Block j of V units stores the one-hot vector of the j-th last character, times ``scale``."""
    fields = {"cell": "rnn", "nonlinearity": nonlinearity, "hidden_size": taps * V, "front_end": "one_hot"}
    network = LanguageModel(ModelConfig(**fields), V)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.recurrent.get_parameter("weight_ih_l0")[:V] = scale * torch.eye(V)
        network.recurrent.get_parameter("weight_hh_l0")[V:, :-V] = torch.eye((taps - 1) * V)
    return network


@pytest.mark.parametrize(("nonlinearity", "scale"), [("relu", 1.0), ("tanh", 1e-3), ("tanh", 1.0)])
@pytest.mark.parametrize("taps", [1, 3, 7])
def test_delay_line_has_the_capacity_of_its_taps(taps, nonlinearity, scale):
    result = capacity(delay_line(taps, nonlinearity, scale), random_texts(V, 300, 20), delays=10)
    assert result.state.capacity == pytest.approx(taps, abs=0.01)
    np.testing.assert_allclose(result.state.r_squared, np.arange(11) < taps, atol=0.02)
    np.testing.assert_array_equal(result.state.accuracy[:taps], np.ones(taps))
    np.testing.assert_allclose(result.state.accuracy[taps:], 1 / V, atol=0.05)


def test_network_without_memory_recovers_the_last_character_alone():
    network = delay_line(1)
    result = capacity(network, random_texts(V, 300, 20), delays=5)
    assert result.state.capacity == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(result.last_character.r_squared, result.state.r_squared, atol=1e-3)


def test_shuffled_targets_are_not_recovered():
    result = capacity(delay_line(7), random_texts(V, 300, 20), delays=10)
    assert result.shuffled.capacity < 0.01
    np.testing.assert_allclose(result.shuffled.r_squared, 0, atol=0.03)
    np.testing.assert_allclose(result.shuffled.accuracy, 1 / V, atol=0.04)


def test_last_character_control_recovers_a_periodic_text():
    """In a periodic text every earlier character follows from the last one."""
    shifts = torch.arange(20) % V
    periodic = (torch.arange(60)[:, None] + shifts) % V
    result = capacity(delay_line(1), periodic, delays=9)
    np.testing.assert_allclose(result.last_character.accuracy, 1)
    np.testing.assert_allclose(result.last_character.r_squared, 1, atol=1e-5)


def test_leaky_integrator_has_the_known_capacity():
    """One unit s_t = a s_{t-1} + x_t with two symbols +1 and -1: R^2_k = (1 - a^2) a^2k, which sum up to 1 (Jaeger
    2001)."""
    network = LanguageModel(ModelConfig(cell="rnn", hidden_size=1, front_end="one_hot"), 2)
    decay, scale = 0.8, 1e-3
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.recurrent.get_parameter("weight_ih_l0").copy_(torch.tensor([[scale, -scale]]))
        network.recurrent.get_parameter("weight_hh_l0").fill_(decay)
    result = capacity(network, random_texts(2, 420, 60), delays=20)
    expected = (1 - decay**2) * decay ** (2 * np.arange(21))
    np.testing.assert_allclose(result.state.r_squared, expected, atol=0.02)
    assert result.state.capacity == pytest.approx(1, abs=0.03)


def test_parts_of_the_state_are_read_alone():
    network, ids = model(cell="lstm"), random_texts(7, 60, 40)
    both, h, c = (capacity(network, ids, delays=3, parts=parts).state.r_squared for parts in ("", "h", "c"))
    assert both[1] > max(h[1], c[1]) - 0.05
    assert (h != c).all()
    np.testing.assert_allclose(capacity(network, ids, delays=3, parts="hc").state.r_squared, both)


@every_kind
def test_every_network_has_a_finite_capacity(fields):
    network, ids = model(**fields), text(12, 10)
    with assert_unchanged(network):
        result = capacity(network, ids, delays=4)
    for readout in (result.state, result.last_character, result.shuffled):
        assert readout.accuracy.shape == readout.r_squared.shape == (5,)
        assert np.isfinite(readout.r_squared).all()
        assert ((readout.accuracy >= 0) & (readout.accuracy <= 1)).all()


def test_random_texts_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    assert torch.equal(random_texts(V, 50, 3), random_texts(V, 50, 3))
    assert not torch.equal(random_texts(V, 50, 3), random_texts(V, 50, 3, seed=2))
    assert torch.equal(before, torch.get_rng_state())


def test_invalid_arguments_are_refused():
    network = model(cell="gru")
    with pytest.raises(ValueError, match="longer than 5 characters, found 3 of 5"):
        capacity(network, text(5), delays=5)
    with pytest.raises(ValueError, match="2 texts or more"):
        capacity(network, text(5, 1), delays=2)
    with pytest.raises(UserError, match="cell gru has no state 'c'; its parts are h"):
        capacity(network, text(5), delays=2, parts="c")
    with pytest.raises(UserError, match="bidirectional"):
        capacity(model(direction="bidirectional"), text(5), delays=2)
