from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from charlstm.config import TrainingConfig
from charlstm.optimization import (
    FACTOR,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_layout,
    optimizer_tensors,
)
from charlstm.optimizers import OPTIMIZERS
from charlstm.optimizers.uncompiled import uncompiled
from charlstm.training.schedule import Schedule


def schedule(**settings) -> Schedule:
    return Schedule(TrainingConfig(**{"learning_rate": 0.1, "warmup_steps": 0, **settings}))


def test_warm_up_climbs_linearly_and_ends():
    s = schedule(schedule="constant", warmup_steps=4)
    assert [s.rate(step, 0, 0) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_default_warm_up_is_the_shorter_of_steps_and_budget():
    s = schedule(schedule="constant", warmup_steps=None)
    assert [s.rate(step, 0, 0) for step in (0, 49, 99, 500)] == pytest.approx([0.001, 0.05, 0.1, 0.1])
    assert [s.rate(0, 0, progress) for progress in (0.001, 0.025, 0.05, 0.5)] == pytest.approx([0.002, 0.05, 0.1, 0.1])


def test_cosine_by_hand():
    s = schedule(schedule="cosine", final_learning_rate_fraction=0.2)
    rates = [s.rate(9, 0, progress) for progress in (0, 1 / 3, 0.5, 1, 1.5)]
    assert rates == pytest.approx([0.1, 0.1 * (0.2 + 0.8 * 0.75), 0.06, 0.02, 0.02])


def test_warm_up_multiplies_cosine():
    s = schedule(schedule="cosine", final_learning_rate_fraction=0.0, warmup_steps=10)
    assert s.rate(4, 0, 0.5) == pytest.approx(0.1 * 0.5 * 0.5)


def test_step_by_hand():
    s = schedule(schedule="step", step_size=0.5, gamma=0.1)
    rates = [s.rate(9, epoch, 0) for epoch in (0, 0.49, 0.5, 0.99, 1.0, 1.5)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.0001])


def test_step_size_that_is_not_a_binary_fraction():
    s = schedule(schedule="step", step_size=0.1, gamma=0.5)
    assert s.rate(0, 0.1 + 0.2, 0) == pytest.approx(0.1 / 8)
    assert s.rate(0, 0.7, 0) == pytest.approx(0.1 / 2**7)


def test_step_after_a_hold_by_hand():
    s = schedule(schedule="step", hold_epochs=10, step_size=1, gamma=0.95)
    rates = [s.rate(9, epoch, 0) for epoch in (0, 1, 9.99, 10, 10.99, 11, 49.99)]
    assert rates == [0.1 * 0.95**reductions for reductions in (0, 0, 0, 1, 1, 2, 40)]
    coarse = schedule(schedule="step", hold_epochs=0.5, step_size=3, gamma=0.5)
    rates = [coarse.rate(9, epoch, 0) for epoch in (0, 0.49, 0.5, 3.49, 3.5, 6.5)]
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.0125]


@pytest.mark.parametrize("step_size", [0.1, 0.7, 1.0, 3.0])
def test_hold_epochs_defaults_to_step_size(step_size):
    default, explicit = (
        schedule(schedule="step", step_size=step_size, hold_epochs=hold, gamma=0.9) for hold in (None, step_size)
    )
    for epoch in torch.arange(0, 12, 0.05, dtype=torch.float64).tolist():
        assert default.rate(9, epoch, 0) == 0.1 * 0.9 ** math.floor(epoch / step_size + 1e-9)
        assert explicit.rate(9, epoch, 0) == default.rate(9, epoch, 0)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_plateau_agrees_with_torch(patience):
    """ReduceLROnPlateau with a threshold of 0."""
    losses = [3.0, 2.0, 2.5, 2.5, 1.9, 2.2, 2.1, 2.0, 2.0, 2.0, 1.8]
    s = schedule(schedule="plateau", gamma=0.5, patience=patience)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0.0)
    best = math.inf
    for loss in losses:
        s.step_evaluation(loss < best)
        theirs.step(loss)
        best = min(best, loss)
        assert s.rate(0, 0, 0) == pytest.approx(optimizer.param_groups[0]["lr"])
    copy = schedule(schedule="plateau", gamma=0.5, patience=patience)
    copy.load_state_dict(s.state_dict())
    assert copy.rate(0, 0, 0) == s.rate(0, 0, 0)
    assert copy.state_dict() == s.state_dict()


class Model(nn.Module):
    def __init__(self, reverse: bool = False) -> None:
        super().__init__()
        names = ["a", "ab", "b"]
        for name in names[::-1] if reverse else names:
            self.register_parameter(name, nn.Parameter(torch.ones(2, 2) * ord(name[0])))


@pytest.mark.parametrize(
    ("settings", "tensors_each"),
    [
        ({"optimizer": "adamw"}, 3),
        ({"optimizer": "sgd"}, 1),
        ({"optimizer": "sgd", "momentum": 0.0}, 0),
        ({"optimizer": "rmsprop"}, 3),
        ({"optimizer": "rmsprop", "momentum": 0.0}, 2),
    ],
    ids=str,
)
def test_optimizer_state_is_loaded_by_name_not_by_order(settings, tensors_each):
    config = TrainingConfig(learning_rate=0.1, **settings)

    def step(model, optimizer, times):
        for _ in range(times):
            optimizer.zero_grad()
            for factor, name in enumerate(("a", "ab", "b"), 1):
                getattr(model, name).grad = factor * getattr(model, name).detach().sin()
            optimizer.step()

    torch.manual_seed(0)
    model = Model()
    optimizer = make_optimizer(config, model)
    step(model, optimizer, 3)
    tensors = optimizer_tensors(optimizer, model)
    assert len(tensors) == 3 * tensors_each
    reversed_model = Model(reverse=True)
    reversed_model.load_state_dict(model.state_dict())
    other = make_optimizer(config, reversed_model)
    load_optimizer_tensors(other, reversed_model, {name: t.clone() for name, t in tensors.items()})
    step(model, optimizer, 2)
    step(reversed_model, other, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, reversed_model.state_dict()[name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torchs_optimizer(name):
    """Those that torch's methods take with their wrappers for ``torch.compile``."""
    config = TrainingConfig(optimizer=name, weight_decay=0.1)
    model, expected = nn.Linear(4, 3), nn.Linear(4, 3)
    expected.load_state_dict(model.state_dict())
    groups = [
        {"params": [expected.weight], "weight_decay": 0.1, FACTOR: 1.0},
        {"params": [expected.bias], "weight_decay": 0.0, FACTOR: 1.0},
    ]
    optimizer, torchs = make_optimizer(config, model), OPTIMIZERS[name].make(groups, config)
    for _ in range(3):
        for network, its_optimizer in ((model, optimizer), (expected, torchs)):
            its_optimizer.zero_grad()
            network(torch.ones(2, 4)).square().sum().backward()
            its_optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True))
    assert str(optimizer.state_dict()) == str(torchs.state_dict())
    assert isinstance(optimizer, type(torchs))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("alpha", [None, 0.95, 0.0])
def test_alpha_smooths_the_mean_square_of_rmsprop(alpha):
    settings = {} if alpha is None else {"alpha": alpha}
    config = TrainingConfig(optimizer="rmsprop", momentum=0.0, learning_rate=0.1, **settings)
    parameters = nn.ParameterList([torch.ones(2, 2, dtype=torch.float64)])
    (p,) = parameters
    optimizer = make_optimizer(config, parameters)
    expected, mean_square, alpha = 1.0, 0.0, 0.99 if alpha is None else alpha
    for gradient in (0.3, -2.0, 0.5):
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
        mean_square = alpha * mean_square + (1 - alpha) * gradient**2
        expected -= 0.1 * gradient / (math.sqrt(mean_square) + 1e-8)
        torch.testing.assert_close(p.detach(), torch.full_like(p, expected), rtol=1e-12, atol=0)


def test_optimizer_that_sets_the_gradient_mode_is_left_alone():
    p = nn.Parameter(torch.ones(1))
    optimizer = uncompiled(lambda: torch.optim.LBFGS([p]))
    assert type(optimizer).step is torch.optim.LBFGS.step

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(p.item()) < 1e-3


def test_torchs_own_optimizers_stay_as_they_are():
    uncompiled(lambda: torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    assert hasattr(torch.optim.Optimizer.add_param_group, "__wrapped__")


def test_frozen_parameters_have_no_optimizer_state():
    model = Model()
    model.ab.requires_grad_(False)
    optimizer = make_optimizer(TrainingConfig(optimizer="adamw"), model)
    assert not any(p is model.ab for group in optimizer.param_groups for p in group["params"])
    (model.a * model.b).sum().backward()
    optimizer.step()
    assert {name.split(".")[0] for name in optimizer_tensors(optimizer, model)} == {"a", "b"}


def test_weight_decay_applies_to_matrices_only():
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(
        TrainingConfig(weight_decay=0.1, learning_rate=0.5, momentum=0.25, optimizer="sgd"), model
    )
    groups = [(group["params"], group["weight_decay"], group["momentum"]) for group in optimizer.param_groups]
    assert groups == [([model.weight], 0.1, 0.25), ([model.bias], 0.0, 0.25)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layout_equals_optimizer_state_after_a_step(name):
    model = torch.nn.Linear(4, 3)
    config = TrainingConfig(optimizer=name)
    before = torch.get_rng_state()
    layout = optimizer_layout(config, model)
    assert torch.equal(torch.get_rng_state(), before)
    optimizer = make_optimizer(config, model)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    state = optimizer_tensors(optimizer, model)
    assert {k: (t.shape, t.dtype) for k, t in layout.items()} == {k: (t.shape, t.dtype) for k, t in state.items()}
