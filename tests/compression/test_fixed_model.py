from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import KINDS, V, model, text

from charlstm.cells import Cell
from charlstm.cells.base import relu, sigmoid, tanh
from charlstm.compression import cell_step
from charlstm.compression.fixed_model import FixedModel, Reading, model_digest
from charlstm.compression.fixed_point import EXACT, wide_bias
from charlstm.executors import Weights
from charlstm.executors.reference import Reference
from charlstm.text.vocabulary import Vocabulary

CONVOLUTION = {"cell": "lstm", "front_end": "convolution", "embedding_size": 5, "kernel_sizes": [1, 3], "filters": 4}
every_kind = pytest.mark.parametrize(
    "fields", [*KINDS, {**CONVOLUTION, "highway": True}, {"cell": "gru", "front_end": "one_hot"}], ids=str
)
VOCABULARY = Vocabulary(tuple("abcdefg"))
FORWARD = Reading(False, ())


def weights_of(fixed, ids):
    """The weights of each step over ids [T, B], the first of them before any character: [T, B, V]."""
    steps = [fixed.weights.copy()]
    for row in ids[1:]:
        fixed.read(row.numpy())
        steps.append(fixed.weights.copy())
    return np.array(steps)


@every_kind
def test_predictions_are_those_of_the_model(fields):
    steps = 4 if fields.get("nonlinearity") == "relu" else 20  # its state grows beyond the limit of 4096
    network, ids = model(**fields).eval(), text(steps)
    with torch.no_grad():
        expected = network(ids)[0].softmax(-1).numpy()
    weights = weights_of(FixedModel(network, 3), ids)
    assert np.abs(weights / weights.sum(-1, keepdims=True) - expected).max() < 1e-3


@every_kind
def test_all_numbers_are_exact_integers(fields, monkeypatch):
    """The proof that the results are the same on every machine: no operation has anything to round."""
    arrays = []
    zeros = cell_step.CellStep._zeros

    def recorded(self, columns=None):
        arrays.append(zeros(self, columns))
        return arrays[-1]

    monkeypatch.setattr(cell_step.CellStep, "_zeros", recorded)
    network = model(**fields).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("recurrent"):
                parameter.mul_(30)  # saturates
    fixed = FixedModel(network, 3)
    for row in text(20):
        fixed.read(row.numpy())
        for array in arrays:
            assert np.abs(array).max() < EXACT
    assert len(arrays) > 2
    assert all((array == np.rint(array)).all() or np.abs(array).max() < 2**34 for array in arrays)


@every_kind
def test_products_are_below_the_limit(fields, monkeypatch):
    multiply, largest = np.multiply, []

    class Recorded:
        def __getattr__(self, name):
            return getattr(np, name)

        @staticmethod
        def multiply(a, b, out=None):
            largest.append(float(np.abs(multiply(a, b)).max()))
            return multiply(a, b, out=out)

    monkeypatch.setattr(cell_step, "np", Recorded())
    network = model(**fields).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e4)
    fixed = FixedModel(network, 3)
    for row in text(50):
        fixed.read(row.numpy())
    assert max(largest, default=0) <= EXACT


def test_batch_does_not_change_predictions():
    network, ids = model(cell="gru").eval(), text(20)
    together = weights_of(FixedModel(network, 3), ids)
    for column in range(3):
        alone = weights_of(FixedModel(network, 1), ids[:, column : column + 1])
        assert np.array_equal(alone[:, 0], together[:, column])


@pytest.mark.parametrize("fields", [{"cell": "lstm"}, CONVOLUTION], ids=str)
def test_restarted_text_is_a_new_text(fields):
    network, ids = model(**fields).eval(), text(20).numpy()
    fixed, new = FixedModel(network, 3), FixedModel(network, 3)
    for row in ids[1:]:
        fixed.read(row)
    fixed.restart(np.array([False, True, False]))
    fixed.read(np.array([0, V, 0]))
    assert np.array_equal(fixed.weights[1], new.weights[1])
    assert not np.array_equal(fixed.weights[0], new.weights[0])


def test_batch_learns_together():
    network, ids = model(cell="gru").eval(), text(6).numpy()
    fixed, learning = FixedModel(network, 3), FixedModel(network, 3, rate=4)
    for row in ids[1:]:
        assert np.array_equal(fixed.weights, learning.weights)
        fixed.read(row)
        learning.read(row)
    errors = np.zeros((3, V))
    errors[0, 2] = 65536
    learning.learn(errors)
    fixed.read(ids[1])
    learning.read(ids[1])
    share = [m.weights[:, 2] / m.weights.sum(1) for m in (fixed, learning)]
    assert (share[1] > share[0]).all()


def test_state_may_be_the_old_state_of_another_part():
    def swap(x, r, h, c):
        return tanh(x.g + r.g + c), h

    swapping = Cell("swapping", swap, "g", "hc")
    weights = Weights(torch.randn(4, 4), torch.randn(4, 4), torch.randn(4), torch.randn(4))
    step = cell_step.CellStep(swapping, weights, 2)
    step.x += step.input_bias
    h = c = torch.zeros(2, 4)
    for _ in range(5):
        h, c = (weights.bias_ih + h @ weights.weight_hh.T + weights.bias_hh + c).tanh(), h
        assert step() * 2.0**-20 == pytest.approx(h.numpy(), abs=2e-3)
        assert step.state[1] * 2.0**-20 == pytest.approx(c.numpy(), abs=2e-3)


def test_cell_may_use_every_operator():
    def equations(x, r, h, m, scale):
        b = relu(-(x.b + r.b) + 0.25)
        m = sigmoid(scale.u) * m + tanh(x.a - 2 * r.a) - b * scale.v
        return tanh(-m) * sigmoid(x.b), m

    cell = Cell("unusual", equations, "ab", "hm", {"scale": "uv"})
    weights = Weights(torch.randn(8, 3), torch.randn(8, 4), torch.randn(8), torch.randn(8), {"scale": torch.randn(8)})
    x = torch.randn(6, 2, 3)
    expected, _ = Reference().run(cell, weights, x, (torch.zeros(2, 4),) * 2)
    step = cell_step.CellStep(cell, weights, 2)
    for x_t, y_t in zip(x, expected, strict=True):
        x_side = step.rows(weights.weight_ih.numpy() @ x_t.numpy().T).T
        step.x[:] = wide_bias(x_side) + step.input_bias
        assert step() * 2.0**-20 == pytest.approx(y_t.numpy(), abs=2e-3)


def test_digest_depends_on_all_that_predicts():
    network = model(cell="lstm").eval()
    first = model_digest(network, VOCABULARY, FORWARD)
    assert model_digest(model(cell="lstm").eval(), VOCABULARY, FORWARD) == first
    assert model_digest(network, Vocabulary(tuple("abcdefh")), FORWARD) != first
    assert model_digest(network, VOCABULARY, Reading(True, ())) != first
    assert model_digest(network, VOCABULARY, Reading(False, (1,))) != first
    assert model_digest(model(cell="lstm", ablate="cell_gradient").eval(), VOCABULARY, FORWARD) != first
    with torch.no_grad():
        network.head.bias[0] += 1e-6
    assert model_digest(network, VOCABULARY, FORWARD) != first


def test_digest_of_a_model_stays_the_same():
    """Files that were compressed by it before have to be restored."""
    network = model(cell="rnn", hidden_size=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    assert model_digest(network, VOCABULARY, FORWARD).hex().startswith("85a8083b3062")
