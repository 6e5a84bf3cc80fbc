"""The values of a step against the equations, computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_models import assert_unchanged, every_kind, model, text
from torch import Tensor

from charlstm.compiler.graph import Node, ordered, trace
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.inspection.step_values import StepValues, step_values
from charlstm.model import LanguageModel

IDS = [0, 2, 1, 1, 0]
W = {"i": [0.3, -1.0, 2.0], "f": [1.0, 0.5, -0.5], "g": [-0.7, 1.1, 0.2], "o": [0.4, 0.6, -2.0]}
W |= {"r": [0.9, -0.4, 0.1], "z": [-0.3, 0.8, 1.5], "n": [0.6, -1.2, 0.7]}
U = {"i": 0.5, "f": -0.8, "g": 1.3, "o": 0.2, "r": -1.1, "z": 0.7, "n": 0.9}
B_IH = {"i": 0.1, "f": 1.0, "g": -0.2, "o": 0.3, "r": 0.4, "z": -0.6, "n": 0.05}
B_HH = {"i": -0.3, "f": 0.2, "g": 0.15, "o": -0.1, "r": 0.25, "z": 0.35, "n": -0.45}
NONE = 3
"""The id of "no character", which the model reads first; its vector is zero."""
HEAD, HEAD_BIAS = [2.0, -1.0, 0.5], [0.1, 0.0, -0.2]


def float64(numbers: list[Any]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def one_unit(cell: str) -> LanguageModel:
    """One layer with one unit over three characters, with the weights above."""
    network = LanguageModel(ModelConfig(cell=cell, hidden_size=1, num_layers=1, embedding_size=3), 3).double()
    gates = network.recurrent.cell.gates
    with torch.no_grad():
        for name, table in {"weight_hh": U, "bias_ih": B_IH, "bias_hh": B_HH}.items():
            parameter = network.recurrent.get_parameter(f"{name}_l0")
            parameter.copy_(float64([table[k] for k in gates]).view_as(parameter))
        network.front_end.weight.copy_(torch.eye(3))
        network.recurrent.get_parameter("weight_ih_l0").copy_(float64([W[k] for k in gates]))
        network.head.weight.copy_(float64(HEAD)[:, None])
        network.head.bias.copy_(float64(HEAD_BIAS))
    return network


def sigma(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def net(k: str, x: int, h: float) -> float:
    return (0.0 if x == NONE else W[k][x]) + B_IH[k] + U[k] * h + B_HH[k]


def node(values: StepValues, op: str, label: object = None) -> Node:
    """The only node with this operator and label, or if it has no label of its own, with an argument of this label."""
    (match,) = (n for n in values.nodes if n.op == op and label in (n.label, *(a.label for a in n.args)))
    return match


def series(values: StepValues, n: Node) -> list[float]:
    return values.nodes[n][:, 0, 0].tolist()


def test_lstm_of_one_unit_equals_the_equations():
    values = step_values(one_unit("lstm"), IDS)
    h = c = 0.0
    expected: dict[str, list[float]] = {k: [] for k in ("i", "f", "g", "o", "f c", "c", "h", "old c", "net f")}
    for x in [NONE, *IDS]:
        i, f, o = (sigma(net(k, x, h)) for k in "ifo")
        g, forgotten = math.tanh(net("g", x, h)), f * c
        for k, v in {"i": i, "f": f, "g": g, "o": o, "f c": forgotten, "old c": c, "net f": net("f", x, h)}.items():
            expected[k].append(v)
        c = forgotten + i * g
        h = o * math.tanh(c)
        expected["c"].append(c)
        expected["h"].append(h)
    new_h, new_c = trace(values.cell).new_state
    actual = {k: node(values, "sigmoid", k) for k in "ifo"} | {"g": node(values, "tanh", "g"), "h": new_h, "c": new_c}
    actual |= {"old c": node(values, "state", "c"), "net f": node(values, "addmm", "f"), "f c": new_c.args[0]}
    for name, n in actual.items():
        assert series(values, n) == pytest.approx(expected[name][1:], rel=1e-12), name


def test_gru_of_one_unit_equals_the_equations():
    values = step_values(one_unit("gru"), IDS)
    h = 0.0
    expected: dict[str, list[float]] = {k: [] for k in ("r", "z", "U n", "h")}
    for x in [NONE, *IDS]:
        r, z, u = sigma(net("r", x, h)), sigma(net("z", x, h)), U["n"] * h + B_HH["n"]
        h = (1 - z) * math.tanh(net("n", x, 0.0) - B_HH["n"] + r * u) + z * h
        for k, v in {"r": r, "z": z, "U n": u, "h": h}.items():
            expected[k].append(v)
    actual = {k: node(values, "sigmoid", k) for k in "rz"}
    actual |= {"U n": node(values, "matmul", "n"), "h": trace(values.cell).new_state[0]}
    for name, n in actual.items():
        assert series(values, n) == pytest.approx(expected[name][1:], rel=1e-12), name


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_predictions_are_the_softmax_of_the_head(cell):
    values = step_values(one_unit(cell), IDS)
    h = values.nodes[trace(values.cell).new_state[0]][:, 0, 0]
    for t, value in enumerate(h):
        scores = [math.exp(w * value + b) for w, b in zip(HEAD, HEAD_BIAS, strict=True)]
        p = [s / sum(scores) for s in scores]
        assert values.probabilities[t].tolist() == pytest.approx(p)
        ranked = sorted(range(3), key=lambda i: -p[i])
        assert [i for i, _ in values.most_probable(t)] == ranked
        assert [q for _, q in values.most_probable(t)] == pytest.approx([p[i] for i in ranked])
        if t + 1 < len(IDS):
            assert values.bits[t] == pytest.approx(-math.log2(p[IDS[t + 1]]))
    assert len(values.bits) == len(IDS) - 1


@every_kind
def test_every_node_of_every_cell_has_a_value(fields):
    network, ids = model(**fields), text(7, 1)[1:, 0]
    with assert_unchanged(network):
        values = step_values(network, ids)
    step = trace(values.cell)
    assert set(values.nodes) == set(ordered(step.new_state))
    assert {v.shape for v in values.nodes.values()} == {(6, network.recurrent.num_layers, 6)}
    read = ids.flip(0) if network.direction == "backward" else ids
    assert values.ids == tuple(read.tolist())
    with torch.no_grad():
        none = read.new_full((1,), network.vocabulary_size)
        logits = network.eval()(torch.cat([none, read])[:, None])[0][1:, 0]
    np.testing.assert_allclose(values.probabilities, logits.softmax(-1).numpy(), rtol=1e-6)
    for letter, new in zip(values.cell.state, step.new_state, strict=True):
        old = next((n for n in values.nodes if n.op == "state" and n.label == letter), None)
        if old is not None:
            np.testing.assert_allclose(values.nodes[old][1:], values.nodes[new][:-1], rtol=1e-9)


def test_a_long_text_is_cut_and_an_empty_one_is_an_error():
    assert len(step_values(one_unit("gru"), [0] * 100).ids) == 60
    with pytest.raises(UserError, match="the text to inspect is empty"):
        step_values(one_unit("gru"), [])
