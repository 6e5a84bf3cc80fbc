from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.compression.fixed_point import EXACT, ONE
from charlstm.compression.readout import OPERAND_LIMIT, LearningReadout, Readout

H, V, B = 6, 4, 3


def make(rate):
    rng = np.random.default_rng(1)
    return rng.standard_normal((V, H)), rng.standard_normal(V), rate


def logits(readout, h):
    out = np.zeros((len(h), V))
    readout(h, out)
    return out * 2.0**-36


def outputs(scale=1.0):
    return np.rint(np.random.default_rng(2).uniform(-1, 1, (B, H)) * ONE * scale)


def test_learning_readout_begins_as_the_fixed_one():
    weight, bias, rate = make(3)
    h = outputs()
    assert np.array_equal(logits(LearningReadout(weight, bias, rate), h), logits(Readout(weight, bias), h))


def test_steps_are_those_of_gradient_descent():
    weight, bias, rate = make(3)
    readout = LearningReadout(weight, bias, rate)
    h, targets = outputs(), np.array([1, 3, 0])
    layer = torch.nn.Linear(H, V, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    for _ in range(20):
        p = torch.from_numpy(logits(readout, h)).softmax(-1).numpy()
        readout.learn(h, np.rint((np.eye(V)[targets] - p) * 2**16))
        loss = torch.nn.functional.cross_entropy(layer(torch.from_numpy(h / ONE)), torch.from_numpy(targets))
        gradients = torch.autograd.grad(loss * B, list(layer.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                parameter -= gradient / 8
    expected = layer(torch.from_numpy(h / ONE)).detach().numpy()
    assert logits(readout, h) == pytest.approx(expected, abs=2e-3)


def test_learning_never_leaves_exact_arithmetic():
    weight, bias, _ = make(0)
    readout, h = LearningReadout(weight * 1e6, bias, 1), outputs(1e6)
    for step in range(50):
        readout.learn(h, np.full((B, V), 65536.0) * (-1) ** (step // 20))
        for array in (readout._fine, readout._weight, readout._bias, readout._matmul._transposed):
            assert (array == np.rint(array)).all()
        assert np.abs(readout._weight).sum(0).max() * OPERAND_LIMIT <= 2**50 < EXACT
        assert np.abs(readout._fine).max() < EXACT
