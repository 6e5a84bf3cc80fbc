"""Gates over a text, against explicit formulas and against hand-set gates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from latch import latch
from small_models import V, assert_unchanged, every_kind, model, text
from torch import Tensor

from charlstm.cells import CELLS, cell
from charlstm.cells.base import sigmoid, tanh
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.probes.dynamics import dynamics
from charlstm.probes.gates import characters, gate_arguments, gates
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(tuple("\n?ABab"))


def layer_of(network: LanguageModel, layer: int, letters: str) -> tuple[dict[str, Tensor], ...]:
    """W, U and b + b' of each gate of one layer."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, b_hh = (network.recurrent.get_parameter(f"{n}_l{layer}").detach().chunk(len(letters)) for n in names)
    bias = [one + other for one, other in zip(b, b_hh, strict=True)]
    return tuple(dict(zip(letters, values, strict=True)) for values in (w, u, bias))


def by_formula(network: LanguageModel, name: str, ids: Tensor) -> dict[str, np.ndarray]:
    """The gates of the lstm, gru, peephole or coupled cell, step by step: [T, L, B, H]."""
    letters = CELLS[name].gates
    vectors = torch.cat([network.front_end.weight.detach(), torch.zeros(1, network.front_end.output_size)])
    h, c = ([torch.zeros(ids.shape[1], 6, dtype=torch.float64) for _ in range(2)] for _ in range(2))
    result: dict[str, list[Tensor]] = {}
    for row in ids:
        x = vectors[row]
        for layer in range(2):
            w, u, b = layer_of(network, layer, letters)
            h_old, c_old = h[layer], c[layer]
            a = {k: x @ w[k].T + h_old @ u[k].T + b[k] for k in letters}
            if name == "gru":
                gate_values = {k: torch.sigmoid(a[k]) for k in "rz"}
                b_n = network.recurrent.get_parameter(f"bias_hh_l{layer}").detach()[-6:]
                n = torch.tanh(a["n"] + (gate_values["r"] - 1) * (h_old @ u["n"].T + b_n))
                h[layer] = (1 - gate_values["z"]) * n + gate_values["z"] * h_old
            else:
                p = torch.zeros(3, 6, dtype=torch.float64)
                if name == "peephole":
                    p = network.recurrent.get_parameter(f"weight_peephole_l{layer}").detach().view(3, 6)
                f = torch.sigmoid(a["f"] + p[1] * c_old)
                i = 1 - f if name == "coupled" else torch.sigmoid(a["i"] + p[0] * c_old)
                c[layer] = f * c_old + i * torch.tanh(a["g"])
                o = torch.sigmoid(a["o"] + p[2] * c[layer])
                h[layer] = o * torch.tanh(c[layer])
                gate_values = {"f": f, "o": o} if name == "coupled" else {"i": i, "f": f, "o": o}
            for k, value in gate_values.items():
                result.setdefault(k, []).append(value)
            x = h[layer]
    return {k: torch.stack(values).unflatten(0, (-1, 2)).numpy() for k, values in result.items()}


@pytest.mark.parametrize("name", ["lstm", "gru", "peephole", "coupled"])
def test_gates_equal_the_formulas(name):
    network, ids = model(cell=name), text(8)
    with assert_unchanged(network):
        actual = gates(network, ids)
    expected = by_formula(network, name, ids)
    assert actual.values.keys() == expected.keys()
    for letter, values in expected.items():
        np.testing.assert_allclose(actual.values[letter], values, rtol=1e-9)
    forget_gate = expected["z" if name == "gru" else "f"]
    assert actual.half_lives is not None
    np.testing.assert_allclose(actual.half_lives, math.log(2) / -np.log(forget_gate).mean((0, 2)), rtol=1e-9)


@pytest.mark.parametrize("declared", CELLS.values(), ids=lambda c: c.name)
def test_gates_of_every_cell_are_detected(declared):
    assert set(gate_arguments(declared)) == set(declared.gates) - set("gnh"), "a candidate is not a gate"
    assert declared.forget_gate is None or declared.forget_gate in gate_arguments(declared)


def test_only_a_sigmoid_of_a_sum_with_one_gate_is_a_gate():
    @cell(gates="abcd", state="hm", parameters={"scale": "u"})
    def invented(x, r, h, m, scale):
        a = sigmoid(0.5 - x.a + r.a * scale.u)
        m = a * m + (1 - a) * tanh(x.b + r.b)
        c = sigmoid(x.c + r.c + m)  # m contains both other gates, inside of functions
        return c * tanh(m) * sigmoid(scale.u) * sigmoid(m + h), m + x.d + r.d

    del CELLS["invented"]
    assert list(gate_arguments(invented)) == ["a", "c"]


@every_kind
def test_a_text_in_two_halves_has_the_same_gates(fields):
    network, ids = model(**fields), text(9)
    with torch.no_grad(), eval_mode(network):
        _, state = network.encode(ids[:4])
    full, rest = gates(network, ids), gates(network, ids[4:], state)
    for letter, values in rest.values.items():
        np.testing.assert_allclose(values, full.values[letter][4:], rtol=1e-9)


def test_latch_gates_open_where_they_were_set():
    network = latch(VOCABULARY, "AB")
    string = "Aabba?"
    ids = torch.from_numpy(VOCABULARY.encode(string))[:, None]
    actual = gates(network, torch.cat([torch.full((1, 1), len(VOCABULARY)), ids]))
    for letter, opening in {"i": "AB", "o": "?", "f": string}.items():
        is_open = [letter == "f", *(character in opening for character in string)]
        expected = np.repeat(np.array(is_open, float)[:, None], 2, 1)
        np.testing.assert_allclose(actual.series(letter), expected, atol=1e-30)
    saturation = actual.saturation("i")
    np.testing.assert_allclose(saturation.mean, 1 / 7)
    np.testing.assert_allclose(saturation.right, 1 / 7)
    np.testing.assert_allclose(saturation.left, 6 / 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("bias", "half_life"), [(0, 1.0), (1, 2.21), (5, 103.2), (30, 7.407e12), (200, math.inf)])
def test_the_half_life_of_a_forget_bias(bias, half_life, dtype):
    network = LanguageModel(ModelConfig(hidden_size=3, num_layers=2, forget_bias=bias), V).to(dtype)
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()
            elif bias > 100:
                parameter.chunk(4)[1].fill_(math.inf)
    result = gates(network, text(5)).half_lives
    assert result is not None
    np.testing.assert_allclose(result, np.full((2, 3), half_life), rtol=5e-3)


ZONEOUTS = [
    {"cell": "lstm", "zoneout_c": 0.5},
    {"cell": "lstm", "zoneout_h": 0.5, "zoneout_c": 0.1},
    {"cell": "lstm", "zoneout_h": 0.5},
    {"cell": "gru", "zoneout_h": 0.3},
    {"cell": "coupled", "zoneout_c": 0.3},
]


@pytest.mark.parametrize("fields", ZONEOUTS, ids=str)
@pytest.mark.parametrize("bias", [-3.0, 0.0, 4.0])
def test_the_half_life_with_zoneout_is_that_of_the_self_connection(fields, bias):
    network = LanguageModel(ModelConfig(hidden_size=3, num_layers=2, forget_bias=bias, **fields), V).double()
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()
    result = gates(network, text(6)).half_lives
    kept = dynamics(network, text(6), exponents=0).self_connection["h" if fields["cell"] == "gru" else "c"]
    np.testing.assert_allclose(result, np.log(0.5) / np.log(kept), rtol=1e-9)


def test_a_long_half_life_with_zoneout_is_accurate():
    network = LanguageModel(ModelConfig(hidden_size=3, forget_bias=40, zoneout_c=0.5), V)
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()
    np.testing.assert_allclose(gates(network, text(4)).half_lives, np.log(2) * 2 * np.exp(40), rtol=1e-6)


def test_saturation_covers_all_steps_of_all_texts():
    network, ids = model(cell="lstm"), text(50, 4)
    result = gates(network, ids)
    values, saturation = result.values["o"], result.saturation("o")
    for layer, unit in ((0, 2), (1, 5)):
        flat = [float(values[t, layer, b, unit]) for t in range(50) for b in range(4)]
        assert saturation.mean[layer, unit] == pytest.approx(sum(flat) / 200)
        assert saturation.left[layer, unit] == sum(v < 0.1 for v in flat) / 200
        assert saturation.right[layer, unit] == sum(v > 0.9 for v in flat) / 200
    np.testing.assert_array_equal(result.series("o"), values[:, 0, 0])
    assert (saturation.right > 0).any()
    assert (saturation.left > 0).any()


def test_cell_without_gates_has_no_gate_values():
    result = gates(model(cell="rnn"), text(4))
    assert (result.values, result.half_lives) == ({}, None)


def test_characters_label_each_step():
    assert characters(VOCABULARY, torch.tensor([len(VOCABULARY), 2, 0, 1])) == ["", "A", "\n", "?"]
