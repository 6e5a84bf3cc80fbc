"""Training equals a loop of plain PyTorch, written from the documentation, over more than one epoch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS, T, RATE = 24, 20, 0.02
OPTIMIZERS = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"cell": "lstm"}, {"weight_decay": 0.3, "clip_grad_norm": 0.2, "averaging_decay": 0.8}),
    ({"cell": "gru", "num_layers": 2}, {"gradient_accumulation": 3, "optimizer": "rmsprop", "learning_rate": 0.005}),
    ({"cell": "rnn"}, {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.01, "label_smoothing": 0.1}),
    (
        {"cell": "lstm", "direction": "backward"},
        {
            "gradient_accumulation": 2,
            "activation_regularization": 2.0,
            "temporal_activation_regularization": 1.0,
            "schedule": "step",
            "step_size": 0.25,
            "hold_epochs": 0.5,
        },
    ),
]


def chunks(ids: Tensor, streams: int, none: int) -> list[tuple[Tensor, Tensor]]:
    """(previous, targets) [T, B] of an epoch; targets that do not count are -100."""
    bounds = [len(ids) * b // streams for b in range(streams + 1)]
    columns = [
        (torch.cat([ids.new_tensor([none]) if a == 0 else ids[a - 1 : a], ids[a : b - 1]]), ids[a:b])
        for a, b in itertools.pairwise(bounds)
    ]
    previous, targets = (
        nn.utils.rnn.pad_sequence([column[part] for column in columns], padding_value=padding)
        for part, padding in ((0, none), (1, -100))
    )
    return list(zip(previous.split(T), targets.split(T), strict=True))


def learning_rate(training: Any, step: int, epoch: float) -> float:
    """The rate of a step, counted from 0, with a warm-up of three steps."""
    warmup = min(1.0, (step + 1) / 3)
    if training.schedule == "step":
        return training.learning_rate * warmup * 0.5 ** max(0, 1 + math.floor((epoch - 0.5) / 0.25 + 1e-9))
    return training.learning_rate * warmup * (0.05 + 0.95 * (1 + math.cos(math.pi * step / STEPS)) / 2)


@pytest.mark.parametrize(("model", "training"), CASES, ids=str)
def test_training_equals_plain_torch(make_trainer, make_config, model, training):
    settings = {"learning_rate": RATE, "budget": {"steps": STEPS}, "evaluate_every": 100, **training}
    config = make_config({"unigram_bias": False, "front_end": "embedding", **model}, **settings)
    trainer, training = make_trainer(config), config.training
    symbols, size = trainer.model.vocabulary_size, config.model.hidden_size
    embedding = nn.Embedding(symbols + 1, 64, padding_idx=symbols)
    layers = getattr(nn, config.model.cell.upper())(64, size, config.model.num_layers)
    head = nn.Linear(size, symbols)
    initial = trainer.model.state_dict()
    with torch.no_grad():
        embedding.weight.copy_(F.pad(initial["front_end.weight"], (0, 0, 0, 1)))
    layers.load_state_dict({name: initial[f"recurrent.{name}"] for name in layers.state_dict()})
    head.load_state_dict({name: initial[f"head.{name}"] for name in head.state_dict()})
    parameters = [p for module in (embedding, layers, head) for p in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    options = {} if training.optimizer == "adamw" else {"momentum": training.momentum}
    optimizer = OPTIMIZERS[training.optimizer](groups, lr=RATE, **options)

    ids = torch.tensor(trainer.corpus.split("train").tolist())
    epoch = chunks(ids.flip(0) if config.model.direction == "backward" else ids, 4, symbols)
    steps, count = [], training.gradient_accumulation
    while len(steps) < STEPS:
        steps += [(start / len(epoch), epoch[start : start + count]) for start in range(0, len(epoch), count)]
    passed, average, state = 0.0, [torch.zeros_like(p) for p in parameters], None
    for step, (position, step_chunks) in enumerate(steps[:STEPS]):
        passed += position == 0 and step > 0
        state = None if position == 0 else state
        optimizer.zero_grad()
        total, nats = sum(int((targets >= 0).sum()) for _, targets in step_chunks), 0.0
        for previous, targets in step_chunks:
            y, state = layers(embedding(previous), state)
            state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            counted, logits = targets >= 0, head(y)
            share = int(counted.sum()) / total
            nats += share * float(F.cross_entropy(logits[counted], targets[counted]).detach())
            loss = F.cross_entropy(logits[counted], targets[counted], label_smoothing=training.label_smoothing)
            change = (y[1:] - y[:-1])[counted[1:] & counted[:-1]].square().mean()
            loss = loss + training.activation_regularization * y[counted].square().mean()
            (share * (loss + training.temporal_activation_regularization * change)).backward()
        norm = float(nn.utils.clip_grad_norm_(parameters, training.clip_grad_norm))
        rate = learning_rate(training, step, passed + position)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if decay := training.averaging_decay:
            average = [decay * mean + (1 - decay) * p.detach() for mean, p in zip(average, parameters, strict=True)]

        trainer.counters.start_record()
        event = trainer._step()
        assert (event.nats, event.gradient_norm) == pytest.approx((nats, norm), rel=1e-4)
        assert (event.step, event.learning_rate) == (step + 1, pytest.approx(rate, rel=1e-9))
    assert passed
    assert_equal_weights(trainer.model, parameters)
    if training.averaging_decay:
        assert_equal_weights(
            trainer.state.evaluated_model, [mean / (1 - training.averaging_decay**STEPS) for mean in average]
        )


def assert_equal_weights(model: nn.Module, expected: list[Tensor]) -> None:
    """Up to rounding, which optimizers that divide by the size of the gradient amplify where it is tiny."""
    for p, other in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), other.detach()[: len(p)], rtol=1e-3, atol=1e-4)
