"""Gates along a text, against formulas written out and against gates set by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from latch import latch
from small_models import V, every_kind, left_alone, model, text
from torch import Tensor

from charlstm.cells import CELLS, cell
from charlstm.cells.base import sigmoid, tanh
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
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
    found: dict[str, list[Tensor]] = {}
    for row in ids:
        x = vectors[row]
        for layer in range(2):
            w, u, b = layer_of(network, layer, letters)
            old, c_old = h[layer], c[layer]
            a = {k: x @ w[k].T + old @ u[k].T + b[k] for k in letters}
            if name == "gru":
                now = {k: torch.sigmoid(a[k]) for k in "rz"}
                b_n = network.recurrent.get_parameter(f"bias_hh_l{layer}").detach()[-6:]
                n = torch.tanh(a["n"] + (now["r"] - 1) * (old @ u["n"].T + b_n))
                h[layer] = (1 - now["z"]) * n + now["z"] * old
            else:
                p = torch.zeros(3, 6, dtype=torch.float64)
                if name == "peephole":
                    p = network.recurrent.get_parameter(f"weight_peephole_l{layer}").detach().view(3, 6)
                f = torch.sigmoid(a["f"] + p[1] * c_old)
                i = 1 - f if name == "coupled" else torch.sigmoid(a["i"] + p[0] * c_old)
                c[layer] = f * c_old + i * torch.tanh(a["g"])
                o = torch.sigmoid(a["o"] + p[2] * c[layer])
                h[layer] = o * torch.tanh(c[layer])
                now = {"f": f, "o": o} if name == "coupled" else {"i": i, "f": f, "o": o}
            for k, value in now.items():
                found.setdefault(k, []).append(value)
            x = h[layer]
    return {k: torch.stack(values).unflatten(0, (-1, 2)).numpy() for k, values in found.items()}


@pytest.mark.parametrize("name", ["lstm", "gru", "peephole", "coupled"])
def test_the_gates_are_those_of_the_formulas(name):
    network, ids = model(cell=name), text(8)
    with left_alone(network):
        found = gates(network, ids)
    expected = by_formula(network, name, ids)
    assert found.values.keys() == expected.keys()
    for letter, values in expected.items():
        np.testing.assert_allclose(found.values[letter], values, rtol=1e-9)
    kept = expected["z" if name == "gru" else "f"]
    assert found.half_lives is not None
    np.testing.assert_allclose(found.half_lives, math.log(2) / -np.log(kept).mean((0, 2)), rtol=1e-9)


@pytest.mark.parametrize("declared", CELLS.values(), ids=lambda c: c.name)
def test_every_cells_gates_are_found(declared):
    assert set(gate_arguments(declared)) == set(declared.gates) - set("gnh"), "a candidate is no gate"
    assert declared.forget_gate is None or declared.forget_gate in gate_arguments(declared)


def test_only_the_sigmoid_of_a_gates_own_sum_is_that_gate():
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
        _, state = network.read(ids[:4])
    whole, rest = gates(network, ids), gates(network, ids[4:], state)
    for letter, values in rest.values.items():
        np.testing.assert_allclose(values, whole.values[letter][4:], rtol=1e-9)


def test_the_latchs_gates_open_where_they_were_set_to():
    network = latch(VOCABULARY, "AB")
    read = "Aabba?"
    ids = torch.from_numpy(VOCABULARY.encode(read))[:, None]
    found = gates(network, torch.cat([torch.full((1, 1), len(VOCABULARY)), ids]))
    for letter, opening in {"i": "AB", "o": "?", "f": read}.items():
        expected = [letter == "f", *(character in opening for character in read)]
        wanted = np.repeat(np.array(expected, float)[:, None], 2, 1)
        np.testing.assert_allclose(found.series(letter), wanted, atol=1e-30)
    saturation = found.saturation("i")
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
    found = gates(network, text(5)).half_lives
    assert found is not None
    np.testing.assert_allclose(found, np.full((2, 3), half_life), rtol=5e-3)


def test_shares_are_of_all_steps_of_all_texts():
    network, ids = model(cell="lstm"), text(50, 4)
    found = gates(network, ids)
    values, saturation = found.values["o"], found.saturation("o")
    for layer, unit in ((0, 2), (1, 5)):
        flat = [float(values[t, layer, b, unit]) for t in range(50) for b in range(4)]
        assert saturation.mean[layer, unit] == pytest.approx(sum(flat) / 200)
        assert saturation.left[layer, unit] == sum(v < 0.1 for v in flat) / 200
        assert saturation.right[layer, unit] == sum(v > 0.9 for v in flat) / 200
    np.testing.assert_array_equal(found.series("o", 1, 3), values[:, 1, 3])
    assert (saturation.right > 0).any()
    assert (saturation.left > 0).any()


def test_a_cell_without_gates_has_none():
    found = gates(model(cell="rnn"), text(4))
    assert (found.values, found.half_lives) == ({}, None)


def test_the_character_beside_each_step():
    assert characters(VOCABULARY, torch.tensor([len(VOCABULARY), 2, 0, 1])) == ["", "A", "\n", "?"]
