"""Initialization: distributions, their effect on the cell, and what stays as in torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from charlstm.cells import CELLS, find
from charlstm.config import ModelConfig
from charlstm.executors import executors
from charlstm.model import LanguageModel, RecurrentStack
from charlstm.model.initialization import Initializer

WITH_FORGET_GATE = [c for c in CELLS.values() if c.forget_gate]
with_forget_gate = pytest.mark.parametrize("cell", WITH_FORGET_GATE, ids=lambda c: c.name)


def bias(stack: RecurrentStack, gate: str) -> Tensor:
    """The sum of both biases of a gate."""
    rows = slice(stack.cell.gates.index(gate) * stack.hidden_size, None)
    return (stack.bias_ih_l0 + stack.bias_hh_l0)[rows][: stack.hidden_size].detach()


@with_forget_gate
def test_chrono_time_scales_are_uniform(cell):
    torch.manual_seed(1)
    stack = RecurrentStack(cell, 2, 2000, initializer=Initializer(forget_bias="chrono", chrono_length=31))
    memory = bias(stack, cell.forget_gate).double().exp()
    assert memory.min() >= 1 - 1e-6
    assert memory.max() <= 30 + 1e-4
    even = torch.linspace(1, 30, 2000, dtype=torch.float64)
    assert (memory.sort().values - even).abs().max() < 1.5  # of 29; uniform samples deviate by about 0.5
    if cell.input_gate:
        torch.testing.assert_close(bias(stack, cell.input_gate), -bias(stack, cell.forget_gate))
    for gate in set(cell.gates) - {cell.forget_gate, cell.input_gate}:
        assert bias(stack, gate).abs().max() <= 2 / math.sqrt(2000)
    assert not torch.equal(
        bias(RecurrentStack(cell, 2, 2000, initializer=stack.initializer), cell.forget_gate), memory.log()
    )


@pytest.mark.parametrize("cell", [find(name) for name in ("lstm", "gru", "peephole", "coupled")], ids=lambda c: c.name)
def test_chrono_unit_retains_state_for_its_drawn_time(cell):
    """(u / (1 + u))^u is 1/2 at u = 1 and falls to 1/e: after u characters about a third remains."""
    torch.manual_seed(2)
    stack = RecurrentStack(cell, 1, 50, initializer=Initializer(forget_bias="chrono", chrono_length=200))
    memory = bias(stack, cell.forget_gate).exp()
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            if "bias" not in name:
                parameter.zero_()
        for gate in set(cell.gates) - {cell.forget_gate, cell.input_gate}:
            start = cell.gates.index(gate) * 50
            stack.bias_ih_l0[start : start + 50] = stack.bias_hh_l0[start : start + 50] = 0
        state = tuple(torch.ones(50, 1).t() for _ in cell.state)
        remaining = torch.zeros(50)
        for t in range(1, 201):
            _, state = executors()["reference"].run(cell, stack.weights(), torch.zeros(1, 1, 1), state)
            now = memory.round() == t
            remaining[now] = state[-1][0][now]
    assert ((remaining > 0.32) & (remaining < 0.51)).all(), remaining


@pytest.mark.parametrize("scale", [None, 0.01])
def test_irnn_is_initialized_to_the_scaled_identity(scale):
    stack = RecurrentStack(find("rnn", nonlinearity="relu"), 3, 5, initializer=Initializer(identity_scale=scale))
    torch.testing.assert_close(stack.weight_hh_l0.detach(), torch.eye(5) * (scale or 1))
    assert not stack.bias_ih_l0.any()
    assert not stack.bias_hh_l0.any()


def test_invalid_option_is_an_error():
    with pytest.raises(ValueError, match=r"forget_bias: expected number >= -1000 and <= 1000 \| chrono, found 'crono'"):
        Initializer(forget_bias="crono")
    with pytest.raises(ValueError, match="chrono_length: expected whole number >= 3 and <= 2147483648, found 2"):
        Initializer(forget_bias="chrono", chrono_length=2)
    for rate in (0.0, -0.1, 1.5, [0.5, 2.0], float("nan")):
        with pytest.raises(ValueError, match=r"leak_rate: expected number from 1e-6 to 1 \| \[smallest"):
            Initializer(leak_rate=rate)
    with pytest.raises(TypeError, match="no cell has an option forget_baes; there are forget_bias"):
        Initializer(forget_baes=1.0)


def test_chrono_length_defaults_to_a_hundred():
    torch.manual_seed(3)
    memory = bias(RecurrentStack(find("lstm"), 2, 5000, initializer=Initializer(forget_bias="chrono")), "f").exp()
    assert 95 < memory.max() <= 99 + 1e-3


@with_forget_gate
def test_forget_bias_defaults_to_that_of_torch(cell):
    number = RecurrentStack(cell, 2, 5, initializer=Initializer(forget_bias=2.5))
    assert torch.equal(bias(number, cell.forget_gate), torch.full((5,), 2.5))
    default = bias(RecurrentStack(cell, 2, 5), cell.forget_gate)
    assert (default != default[0]).any()
    assert default.abs().max() <= 2 / math.sqrt(5)


@pytest.mark.parametrize("learn", [True, False])
def test_leak_rates_are_spaced_geometrically(learn):
    cell = find("leaky", learn_leak=learn)
    stack = RecurrentStack(cell, 2, 9, 2, initializer=Initializer(leak_rate=[0.001, 0.5]))
    for layer in ("_l0", "_l1"):
        (parameter,) = stack.weights(layer).parameters.values()
        rate = parameter.detach().double().sigmoid() if learn else parameter.double()
        torch.testing.assert_close(rate[[0, -1]], torch.tensor([0.001, 0.5]).double(), rtol=1e-5, atol=0)
        torch.testing.assert_close(rate[1:] / rate[:-1], torch.full((8,), 500 ** (1 / 8)).double(), rtol=1e-5, atol=0)
        assert parameter.requires_grad == learn


def test_frozen_leak_rate_can_be_one_and_a_learned_one_not():
    fixed = RecurrentStack(find("leaky", learn_leak=False), 2, 7)
    assert fixed.leak_rate_l0[-1] == 1
    assert fixed.leak_rate_l0[0] == pytest.approx(0.05)
    assert torch.equal(RecurrentStack(find("esn"), 2, 7).leak_rate_l0, torch.ones(7))
    learned = RecurrentStack(find("leaky"), 2, 7, initializer=Initializer(leak_rate=1.0)).leak_logit_l0.sigmoid()
    torch.testing.assert_close(learned, torch.full((7,), 0.99))


def spectral_radius(matrix: Tensor, squarings: int = 16) -> float:
    """The spectral radius from the growth of powers: (|A^2k| / |A^k|)^(1/k), for a large k."""
    power, logs = matrix.detach().double(), [0.0]
    for _ in range(squarings):
        size = power.norm()
        logs.append(2 * (logs[-1] + size.log().item()))
        power = (power / size) @ (power / size)
    return math.exp((logs[-1] + power.norm().log().item() - logs[-1] / 2) / 2 ** (squarings - 1))


SHAPES = [(1, 0.1, 0.5), (40, 1.0, 1.2), (300, 0.1, 0.95), (150, 1e-6, 0.9)]


@pytest.mark.parametrize(("hidden_size", "density", "radius"), SHAPES)
def test_reservoir_has_the_configured_radius_and_density(hidden_size, density, radius):
    torch.manual_seed(4)
    initializer = Initializer(density=density, spectral_radius=radius, input_scaling=0.3)
    stack = RecurrentStack(find("esn"), 3, hidden_size, 2, initializer=initializer)
    for layer in ("_l0", "_l1"):
        w = stack.weights(layer)
        assert spectral_radius(w.weight_hh) == pytest.approx(radius, rel=1e-3)
        assert ((w.weight_hh != 0).sum(1) == max(1, round(density * hidden_size))).all()
        assert w.weight_ih.abs().max() <= 0.3
        assert not w.bias_ih.any()
        assert not w.bias_hh.any()
    assert not any(p.requires_grad for p in stack.parameters())
    if hidden_size > 100:
        assert stack.weights().weight_ih.abs().max() > 0.28
        assert not torch.equal(stack.weight_hh_l0, stack.weight_hh_l1)
        assert len({tuple(row.nonzero().flatten().tolist()) for row in stack.weight_hh_l0}) > hidden_size / 2


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
def test_initialization_depends_on_the_seed_only(cell, monkeypatch):
    options = {"cell": cell.base, **cell.options, "hidden_size": 6, "num_layers": 2}
    if cell.forget_gate:
        options["forget_bias"] = "chrono"
    config = ModelConfig(**options)

    def initialized(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return LanguageModel(config, 5).state_dict()

    one, same, other = initialized(1), initialized(1), initialized(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["recurrent.weight_hh_l0"], other["recurrent.weight_hh_l0"]) or cell.name == "irnn"
    monkeypatch.setattr(torch.linalg, "eigvals", None)
    before = torch.get_rng_state()
    with torch.device("meta"):
        shapes = LanguageModel(config, 5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: t.shape for name, t in shapes.items()} == {name: t.shape for name, t in one.items()}


def test_one_hot_input_weights_keep_the_reservoir_scaling():
    torch.manual_seed(5)
    model = LanguageModel(ModelConfig(cell="esn", hidden_size=50, input_scaling=0.01), 20)
    assert 0.009 < model.recurrent.weight_ih_l0.abs().max() <= 0.01
    other = LanguageModel(ModelConfig(cell="leaky", hidden_size=50, front_end="one_hot"), 20)
    assert other.recurrent.weight_ih_l0.abs().max() > 0.9


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "peephole", "leaky"])
def test_orthogonal_recurrent_weights_preserve_norms(name):
    torch.manual_seed(1)
    cell = find(name)
    stack = RecurrentStack(cell, 3, 24, num_layers=2, initializer=Initializer(recurrent_init="orthogonal"))
    for weight in (stack.weight_hh_l0, stack.weight_hh_l1):
        for block in weight.detach().double().chunk(len(cell.gates)):
            torch.testing.assert_close(block @ block.T, torch.eye(24, dtype=torch.float64), atol=1e-5, rtol=0)
            assert not torch.equal(block, torch.eye(24))


def test_recurrent_weights_are_uniform_by_default():
    torch.manual_seed(1)
    default = RecurrentStack(find("lstm"), 3, 24)
    torch.manual_seed(1)
    uniform = RecurrentStack(find("lstm"), 3, 24, initializer=Initializer(recurrent_init="uniform"))
    assert all(torch.equal(a, b) for a, b in zip(default.parameters(), uniform.parameters(), strict=True))


RANGE = 0.08
FRONT_ENDS = {
    "one_hot": {"front_end": "one_hot"},
    "embedding": {"embedding_size": 5},
    "tied": {"tie_weights": True},
    "convolution": {"front_end": "convolution", "embedding_size": 5, "filters": 3, "highway": True},
    "bidirectional": {"front_end": "convolution", "embedding_size": 5, "filters": 3, "direction": "bidirectional"},
}


def in_range(cell: str, **fields: Any) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(ModelConfig(cell=cell, hidden_size=40, num_layers=2, init_range=RANGE, **fields), 30)


def assert_uniform(parameter: Tensor, bound: float = RANGE) -> None:
    """Uniform in +-bound: within it and not constant, and, of a large parameter, with the variance of that."""
    assert parameter.abs().max() <= bound
    assert parameter.std() > bound / 10
    if parameter.numel() >= 1000:
        assert parameter.abs().max() > 0.99 * bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert abs(parameter.mean().item()) < bound / 10


@pytest.mark.parametrize("front", FRONT_ENDS.values(), ids=FRONT_ENDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "peephole", "coupled", "capped"])
def test_init_range_bounds_every_weight_and_bias(cell, front):
    network = in_range(cell, **front)
    for parameter in network.parameters():
        assert_uniform(parameter.detach())
    assert not front.get("tie_weights") or network.front_end.weight is network.head.weight


@with_forget_gate
def test_forget_bias_applies_on_top_of_init_range_if_set(cell):
    fields = {**cell.options, "front_end": "one_hot"}
    gate = bias(in_range(cell.base, **fields).recurrent, cell.forget_gate)
    assert_uniform(gate, 2 * RANGE)
    stack = in_range(cell.base, forget_bias=1.0, **fields).recurrent
    assert torch.equal(bias(stack, cell.forget_gate), torch.ones(40))
    for other in set(cell.gates) - {cell.forget_gate}:
        assert_uniform(bias(stack, other), 2 * RANGE)
    memory = bias(in_range(cell.base, forget_bias="chrono", chrono_length=31, **fields).recurrent, cell.forget_gate)
    assert memory.min() >= 0
    assert memory.max() > 2


def test_init_range_leaves_what_other_options_initialize():
    orthogonal = in_range("lstm", recurrent_init="orthogonal").recurrent
    for block in orthogonal.weight_hh_l1.detach().double().chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(40, dtype=torch.float64), atol=1e-5, rtol=0)
    assert_uniform(orthogonal.weight_ih_l1.detach())
    irnn = in_range("rnn", nonlinearity="relu", identity_scale=0.5).recurrent
    assert torch.equal(irnn.weight_hh_l0.detach(), 0.5 * torch.eye(40))
    assert_uniform(irnn.weight_ih_l0.detach())
    leaky = in_range("leaky", leak_rate=0.25).recurrent
    torch.testing.assert_close(leaky.leak_logit_l0.detach().sigmoid(), torch.full((40,), 0.25))
    assert_uniform(leaky.bias_hh_l0.detach())


def test_without_init_range_each_part_has_its_own_distribution():
    torch.manual_seed(1)
    network = LanguageModel(ModelConfig(hidden_size=40), 30)
    assert network.front_end.weight.abs().max() > 2
    assert not network.head.bias.any()
    assert_uniform(network.recurrent.weight_hh_l0.detach(), 1 / math.sqrt(40))
    assert_uniform(bias(network.recurrent, "f"), 2 / math.sqrt(40))
