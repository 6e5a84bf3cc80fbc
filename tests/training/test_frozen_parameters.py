"""Training changes all parameters that require gradients, and no frozen ones."""

from __future__ import annotations

import pytest
import torch

OPTIMIZERS = [
    {"optimizer": "adamw", "weight_decay": 0.3},
    {"optimizer": "sgd", "weight_decay": 0.1, "learning_rate": 0.1},
    {"optimizer": "rmsprop", "weight_decay": 0.1, "momentum": 0.0},
]


@pytest.mark.parametrize(
    ("executor", "optimizer"),
    [
        pytest.param(e, o, marks=() if e == "auto" or o is OPTIMIZERS[0] else pytest.mark.slow)
        for e in ("auto", "eager", "reference")
        for o in OPTIMIZERS
    ],
    ids=lambda value: value if isinstance(value, str) else value["optimizer"],
)
@pytest.mark.parametrize("model", [{"cell": "esn", "num_layers": 2}, {"cell": "leaky", "learn_leak": False}], ids=str)
@pytest.mark.few(4)
def test_training_changes_only_parameters_that_require_grad(make_config, make_trainer, model, executor, optimizer):
    trainer = make_trainer(make_config({**model, "executor": executor, "direction": "bidirectional"}, **optimizer))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    assert list(trainer.run())[-1].stop_reason == "budget"
    frozen = {name for name, p in trainer.model.named_parameters() if not p.requires_grad}
    assert {name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])} == frozen
    assert all(name.startswith("recurrent") for name in frozen)
    count = sum(p.numel() for name, p in before.items() if name not in frozen)
    assert trainer.execution.facts()["parameters"] == count
    assert trainer.model.frozen_count() == sum(before[name].numel() for name in frozen) > 0


def test_reservoir_model_learns(make_config, make_trainer):
    model = {"cell": "esn", "hidden_size": 60, "washout": 10}
    events = list(make_trainer(make_config(model, budget={"steps": 60}, evaluate_every=20, learning_rate=3e-2)).run())
    nats = [event.nats for event in events if hasattr(event, "improved")]
    assert nats[-1] < 0.9 * nats[0]
    assert nats[-1] < 2.2


def test_leak_rate_is_trained(make_config, make_trainer):
    trainer = make_trainer(make_config({"cell": "leaky"}))
    before = trainer.model.recurrent.leak_logit_l0.detach().clone()
    list(trainer.run())
    assert (trainer.model.recurrent.leak_logit_l0 != before).all()


def test_washout_excludes_the_first_losses(make_config, make_trainer):
    trainer = make_trainer(make_config({"cell": "esn", "washout": 15}, batch_size=4, sequence_length=20))
    first, second = (trainer.streams.next_batch() for _ in range(2))
    assert (first.count, second.count) == (4 * 5, 4 * 20)
