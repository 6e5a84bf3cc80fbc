"""The gradient over lag, against closed forms and against independent uses of autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import V, assert_unchanged, every_kind, model, text
from torch import nn
from torch.nn import functional as F

from charlstm.cells import CELLS, cell
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel, RecurrentStack
from charlstm.probes.gradients import GradientOverLag, effective_depth, gradient_over_lag


@cell(gates="h", state="h")
def linear(x, r, h):
    return x.h + r.h


del CELLS["linear"]


def linear_model(radius: float, hidden_size: int = 5) -> LanguageModel:
    torch.manual_seed(1)
    network = LanguageModel(ModelConfig(hidden_size=hidden_size, front_end="one_hot"), V).double()
    network.recurrent = RecurrentStack(linear, V, hidden_size).double()
    with torch.no_grad():
        q, _ = torch.linalg.qr(torch.randn(hidden_size, hidden_size, dtype=torch.float64))
        network.recurrent.get_parameter("weight_hh_l0").copy_(radius * q)
    return network


@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
def test_linear_network_gradient_is_a_power_of_the_radius(radius):
    result = gradient_over_lag(linear_model(radius), text(101))
    curve = result.relative()
    np.testing.assert_allclose(curve, radius ** np.arange(101.0), rtol=1e-10)
    np.testing.assert_array_equal(result.norms["h"], result.norms["all"])


def test_the_effective_depth_of_a_linear_network():
    curve = gradient_over_lag(linear_model(0.9), text(101)).relative()
    assert effective_depth(curve) == 43  # 0.9^43 = 0.0108, 0.9^44 = 0.0097
    assert effective_depth(curve, fraction=0.5) == 6


def test_two_tanh_units_equal_the_product_of_jacobians():
    network = model(cell="rnn", num_layers=1, hidden_size=2, front_end="one_hot", dropout=0.0)
    ids = text(9)
    values = {name: value.detach().numpy() for name, value in network.recurrent.named_parameters()}
    w, u = values["weight_ih_l0"], values["weight_hh_l0"]
    b = values["bias_ih_l0"] + values["bias_hh_l0"]
    head, head_bias = (value.detach().numpy() for value in (network.head.weight, network.head.bias))
    expected = np.empty((9, 3))
    for text_number in range(3):
        h, jacobians = np.zeros(2), []
        for i in ids[:-1, text_number].tolist():
            h = np.tanh((w[:, i] if i < V else 0) + u @ h + b)
            jacobians.append(np.diag(1 - h**2) @ u)
        logits = head @ h + head_bias
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        gradient = head.T @ (p - np.eye(V)[int(ids[-1, text_number])])
        expected[0, text_number] = np.linalg.norm(gradient)
        for k, jacobian in enumerate(reversed(jacobians), 1):
            gradient = jacobian.T @ gradient
            expected[k, text_number] = np.linalg.norm(gradient)
    np.testing.assert_allclose(gradient_over_lag(network, ids).norms["all"], expected, rtol=1e-10)


def test_lstm_gradients_equal_torchs():
    network, ids = model(cell="lstm"), text(7)
    cells = [nn.LSTMCell(size, 6).double() for size in (network.front_end.output_size, 6)]
    for layer, one in enumerate(cells):
        one.load_state_dict({n: network.recurrent.get_parameter(f"{n}_l{layer}") for n, _ in one.named_parameters()})
    vectors = F.pad(network.front_end.weight, (0, 0, 0, 1))
    result = gradient_over_lag(network, ids).norms
    for k in range(7):
        for b in range(3):
            h, c = (torch.zeros(2, 6, dtype=torch.float64) for _ in range(2))
            for t, i in enumerate(ids[:-1, b].tolist()):
                if t == 6 - k:
                    h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
                    leaves = (h, c)
                h0, c0 = cells[0](vectors[i], (h[0], c[0]))
                h1, c1 = cells[1](h0, (h[1], c[1]))
                h, c = torch.stack([h0, h1]), torch.stack([c0, c1])
            if k == 0:
                h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
                leaves = (h, c)
            loss = F.cross_entropy(network.head(h[1]), ids[-1, b])
            d_h, d_c = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
            assert result["h"][k, b] == pytest.approx(d_h.norm().item(), rel=1e-9)
            assert result["c"][k, b] == pytest.approx(d_c.norm().item(), rel=1e-9)
            assert result["all"][k, b] == pytest.approx(torch.cat([d_h, d_c]).norm().item(), rel=1e-9)


@every_kind
def test_gradient_equals_that_of_the_model_forward(fields):
    network, ids = model(**fields), text(6)
    network.eval()
    state = network.encode(text(4).flip(0))[1]
    leaves = [part.detach().requires_grad_() for part in state[: len(network.recurrent.cell.state)]]
    logits, _ = network(ids[:-1], (*leaves, *state[len(leaves) :]))
    losses = F.cross_entropy(logits[-1], ids[-1], reduction="none")
    expected = torch.zeros(3, dtype=torch.float64)
    for gradient in torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True):
        expected += gradient.pow(2).sum((0, 2))
    network.train()
    with assert_unchanged(network), torch.no_grad():
        actual = gradient_over_lag(network, ids, state=state)
    np.testing.assert_allclose(actual.norms["all"][-1], expected.sqrt().numpy(), rtol=1e-8)
    assert (actual.norms["all"][0] > 0).all()
    assert set(actual.norms) == {"all", *network.recurrent.cell.state}


@every_kind
def test_smaller_depth_gives_a_prefix_of_the_curve(fields):
    network, ids = model(**fields), text(7)
    full, some = gradient_over_lag(network, ids), gradient_over_lag(network, ids, depth=3)
    for part, norms in some.norms.items():
        np.testing.assert_allclose(norms, full.norms[part][:4], rtol=1e-10)
    assert len(gradient_over_lag(network, ids, depth=0).relative()) == 1


def test_executor_and_dtype_of_the_model_do_not_matter():
    network, ids = model(cell="lstm", executor="eager").float(), text(9)
    with assert_unchanged(network), torch.autocast("cpu", torch.bfloat16):
        actual = gradient_over_lag(network, ids)
    expected = gradient_over_lag(model(cell="lstm"), ids)  # the same weights before rounding
    np.testing.assert_allclose(actual.norms["all"], expected.norms["all"], rtol=1e-4)


def test_gradient_below_float32_range_is_measured():
    curve = gradient_over_lag(linear_model(0.05).float(), text(101)).relative()
    np.testing.assert_allclose(curve, 0.05 ** np.arange(101.0), rtol=1e-4)


def test_depth_beyond_the_text_is_refused():
    with pytest.raises(ValueError, match=r"0 \.\. 4"):
        gradient_over_lag(model(), text(5), depth=5)
    with pytest.raises(ValueError, match="number of input characters"):
        gradient_over_lag(model(), text(1))


def test_effective_depth():
    assert effective_depth([1.0, 0.5, 0.001, 0.01, 0.002]) == 3, "beyond a gap, and at exactly the fraction"
    assert effective_depth([2.0, 0.01]) == 0
    assert effective_depth([0.0, 0.0]) == 0


def test_relative_norms_weigh_all_texts_alike():
    first = [0.0, 2.0, 100.0]
    result = GradientOverLag({"all": np.array([first, [9.0, 1.0, 10.0]]), "h": np.array([first, [9.0, 2.0, 0.0]])})
    np.testing.assert_allclose(result.relative(), [1, 0.3])
    np.testing.assert_allclose(result.relative("h"), [1, 0.5])
    np.testing.assert_array_equal(GradientOverLag({"all": np.zeros((2, 3))}).relative(), [0, 0])
