"""Jacobians and Lyapunov exponents, on networks whose answer is known and against finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_models import V, assert_unchanged, every_kind, model, text

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.probes import dynamics as module
from charlstm.probes.dynamics import dynamics, spectral_radii


def zeroed(hidden_size: int = 5, **fields: Any) -> LanguageModel:
    """One layer with all parameters zero."""
    network = LanguageModel(ModelConfig(hidden_size=hidden_size, front_end="one_hot", **fields), V)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network.double()


def set_recurrent(network: LanguageModel, matrix: np.ndarray) -> LanguageModel:
    with torch.no_grad():
        network.recurrent.get_parameter("weight_hh_l0").copy_(torch.from_numpy(matrix))
    return network


def orthogonal(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0]


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_scaled_orthogonal_matrix_has_one_exponent(scale):
    network = set_recurrent(zeroed(cell="rnn"), scale * orthogonal(5))  # h = 0, where tanh is linear
    result = dynamics(network, text(30))
    np.testing.assert_allclose(result.exponents, np.full((3, 5), math.log(scale)), atol=1e-12)
    for values in (result.largest, result.median, result.smallest):
        np.testing.assert_allclose(values, np.full((30, 3), scale))


def test_exponents_of_a_linear_network_are_its_log_eigenvalues():
    basis, eigenvalues = np.random.default_rng(2).normal(size=(4, 4)), np.array([1.2, -0.9, 0.5, 0.1])
    matrix = basis @ np.diag(eigenvalues) @ np.linalg.inv(basis)
    network = set_recurrent(zeroed(4, cell="rnn"), matrix)
    result = dynamics(network, text(140), warm_up=40)
    np.testing.assert_allclose(result.exponents, np.tile(np.log(np.abs(eigenvalues)), (3, 1)), atol=1e-6)
    singular = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(result.largest, np.full((100, 3), singular[0]))
    np.testing.assert_allclose(result.median, np.full((100, 3), singular[1:3].mean()))
    np.testing.assert_allclose(result.smallest, np.full((100, 3), singular[3]))
    np.testing.assert_allclose(result.self_connection["h"], np.diag(matrix)[None])
    first = dynamics(network, text(140), exponents=2, warm_up=40)
    np.testing.assert_allclose(first.exponents, result.exponents[:, :2], atol=1e-6)
    np.testing.assert_allclose(spectral_radii(network)["h"], [1.2])


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0, 5.0, 200.0])
def test_lstm_without_recurrence_decays_at_its_forget_gate(bias):
    network = zeroed(cell="lstm")
    with torch.no_grad():
        network.recurrent.get_parameter("bias_hh_l0").chunk(4)[1].fill_(bias)
    result = dynamics(network, text(21), warm_up=1)
    gate = 1 / (1 + math.exp(-bias))
    np.testing.assert_allclose(result.exponents[:, :5], np.full((3, 5), math.log(gate)), atol=1e-12)
    assert np.isneginf(result.exponents[:, 5:]).all(), "h has no direct path to the next state"
    np.testing.assert_allclose(result.self_connection["c"], np.full((1, 5), gate))
    np.testing.assert_array_equal(result.self_connection["h"], np.zeros((1, 5)))


def test_gru_without_recurrence_decays_at_its_update_gate():
    network = zeroed(cell="gru")
    with torch.no_grad():
        network.recurrent.get_parameter("bias_ih_l0").chunk(3)[1].fill_(2.0)
    result = dynamics(network, text(20))
    gate = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(result.exponents, np.full((3, 5), math.log(gate)))
    np.testing.assert_allclose(result.self_connection["h"], np.full((1, 5), gate))


def test_identity_rnn_with_active_units_preserves_all_directions():
    network = set_recurrent(zeroed(cell="rnn", nonlinearity="relu"), np.eye(5))
    with torch.no_grad():
        network.recurrent.get_parameter("bias_ih_l0").fill_(1.0)
    result = dynamics(network, text(20))
    np.testing.assert_allclose(result.exponents, np.zeros((3, 5)), atol=1e-12)


def test_a_dead_relu_unit_has_no_exponent():
    network = set_recurrent(zeroed(cell="rnn", nonlinearity="relu"), np.eye(5))
    with torch.no_grad():
        network.recurrent.get_parameter("bias_ih_l0").copy_(torch.tensor([1.0, 1, 1, -1, -1]))
    result = dynamics(network, text(21), warm_up=1)
    np.testing.assert_allclose(result.exponents[:, :3], np.zeros((3, 3)), atol=1e-12)
    assert np.isneginf(result.exponents[:, 3:]).all()
    assert (result.smallest == 0).all()


@pytest.mark.parametrize(("gain", "is_chaotic"), [(0.5, False), (2.5, True)])
def test_random_rnn_is_chaotic_only_with_a_high_gain(gain, is_chaotic):
    """Sompolinsky, Crisanti & Sommers 1988; the rate at which two nearby trajectories separate is measured directly."""
    size = 60
    matrix = np.random.default_rng(3).normal(size=(size, size)) * gain / math.sqrt(size)
    network = set_recurrent(zeroed(size, cell="rnn"), matrix)
    state = torch.full((1, 1, size), 0.1, dtype=torch.float64)
    largest = dynamics(network, text(400, 1), exponents=1, warm_up=100, state=(state,)).exponents.item()
    h = np.full(size, 0.1)
    offset, rates = np.random.default_rng(4).normal(size=size), []
    for _ in range(400):
        offset *= 1e-7 / np.linalg.norm(offset)
        h, near = np.tanh(matrix @ h), np.tanh(matrix @ (h + offset))
        offset = near - h
        rates.append(math.log(np.linalg.norm(offset) / 1e-7))
    assert (largest > 0.05) == is_chaotic == (largest > 0)
    assert largest == pytest.approx(np.mean(rates[100:]), abs=0.02)


def finite_differences(network: LanguageModel, previous: torch.Tensor, step: float = 1e-6) -> np.ndarray:
    """The Jacobians of one text, [T, D, D], from the model's outputs."""
    parts, state, jacobians = len(network.recurrent.cell.state), network.initial_state(1), []
    shape = (parts, *state[0].shape)
    for row in previous:
        base, rest = torch.stack(state[:parts]).flatten(), state[parts:]
        size = len(base)
        shifts = step * torch.eye(size, dtype=base.dtype)
        shifted = (base + torch.cat([shifts, -shifts])).view(2 * size, *shape).movedim(0, 3).squeeze(2)
        batch = (*shifted, *(torch.cat([part] * 2 * size, 1) for part in rest))
        after = network.encode(row.expand(1, 2 * size), batch)[1]
        new = torch.stack(after[:parts]).movedim(2, 0).reshape(2 * size, size)
        jacobians.append(((new[:size] - new[size:]) / (2 * step)).T.numpy())
        state = network.encode(row[None], state)[1]
    return np.stack(jacobians)


@every_kind
@torch.no_grad()
def test_jacobians_equal_finite_differences(fields):
    network, ids = model(**fields), text(6, 1)
    with assert_unchanged(network):
        result = dynamics(network, ids)
    network.eval()
    expected = finite_differences(network, ids)
    singular = np.linalg.svd(expected, compute_uv=False)
    np.testing.assert_allclose(result.largest[:, 0], singular[:, 0], rtol=1e-6)
    np.testing.assert_allclose(result.median[:, 0], np.median(singular, 1), atol=1e-6)
    np.testing.assert_allclose(result.smallest[:, 0], singular[:, -1], atol=1e-6)
    diagonal = np.concatenate([values.ravel() for values in result.self_connection.values()])
    np.testing.assert_allclose(diagonal, expected.diagonal(0, 1, 2).mean(0), atol=1e-6)
    if singular.min() > 1e-5:
        assert result.exponents.sum() == pytest.approx(np.linalg.slogdet(expected)[1].mean(), rel=1e-4)
    assert set(spectral_radii(network)) == set(network.recurrent.cell.gates)


def test_warm_up_equals_a_start_from_the_state_after_it():
    network, ids = model(cell="lstm"), text(12)
    network.eval()
    state = network.encode(ids[:5])[1]
    late, warm = dynamics(network, ids[5:], state=state), dynamics(network, ids, warm_up=5)
    np.testing.assert_allclose(late.largest, warm.largest)
    np.testing.assert_allclose(late.self_connection["c"], warm.self_connection["c"])
    assert (late.exponents != warm.exponents).any(), "the directions are aligned by the warm-up"


def test_chunks_do_not_change_the_result(monkeypatch):
    network, ids = model(cell="gru"), text(9)
    results = []
    for size in (1, 8 * 3 * 12**2 * 4, 1 << 27):
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
        results.append(dynamics(network, ids, warm_up=3))
    for other in results[1:]:
        np.testing.assert_allclose(other.exponents, results[0].exponents)
        np.testing.assert_allclose(other.smallest, results[0].smallest)
        np.testing.assert_allclose(other.self_connection["h"], results[0].self_connection["h"])


def test_invalid_arguments_are_refused():
    network = model(cell="rnn")
    with pytest.raises(ValueError, match=r"exponents 0 \.\. 12 and warm_up 0 \.\. 4, found 13 and 0"):
        dynamics(network, text(5), exponents=13)
    with pytest.raises(ValueError, match="found 12 and 5"):
        dynamics(network, text(5), warm_up=5)
    with pytest.raises(UserError, match="bidirectional"):
        dynamics(model(direction="bidirectional"), text(5))
    assert dynamics(network, text(5), exponents=0).exponents.shape == (3, 0)
