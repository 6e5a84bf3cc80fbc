"""Steps of several chunks, smoothed labels, learning rates of parts of a network, and chunks of random length."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from charlstm.text.streams import IGNORE
from charlstm.training.events import Progress
from charlstm.training.loader import next_chunks

PLAIN_SGD = {"optimizer": "sgd", "momentum": 0.0, "clip_grad_norm": None, "schedule": "constant", "warmup_steps": 0}


def weights_of(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("lengths", [[20, 20, 18], [20, 18]])
def test_gradients_are_those_of_the_mean_over_all_chunks(make_trainer, make_config, lengths):
    """The last chunk of an epoch is shorter, and the state after each chunk is carried into the next."""
    trainer = make_trainer(make_config())
    model, total, count = trainer.model, 0.0, 0
    state = before = tuple(torch.randn_like(part) for part in trainer.state.carried)
    trainer.streams.position = trainer.streams.steps_per_epoch - len(lengths)
    batches = next_chunks(trainer.streams, 5)
    assert [len(batch.targets) for batch in batches] == lengths
    for batch in batches:
        logits, state = model(batch.previous, state)
        state = tuple(part.detach() for part in state)
        total = total + F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        count += batch.count
    expected = torch.autograd.grad(total / count, list(model.parameters()))
    (nats, norm), carried = trainer.step.gradients(trainer.step.inputs(batches), before)
    torch.testing.assert_close(nats, (total / count).detach().to(nats.dtype))
    assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in expected)), rel=1e-5)
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-5, atol=1e-8)
    for part, other in zip(carried, state, strict=True):
        torch.testing.assert_close(part, other.to(part.dtype))


def test_step_is_an_update_and_ends_with_the_epoch(make_trainer, make_config):
    config = make_config(gradient_accumulation=4, budget={"epochs": 2}, evaluate_every=40)
    trainer = make_trainer(config)
    assert trainer.steps_per_epoch == math.ceil(trainer.streams.steps_per_epoch / 4) == 5
    sizes, gradients = [], trainer.step.gradients
    trainer.step.gradients = lambda inputs, state: sizes.append(len(inputs)) or gradients(inputs, state)
    events = [event for event in trainer.run() if isinstance(event, Progress)]
    assert sizes == [4, 4, 4, 4, 1] * 2
    assert [event.step for event in events] == list(range(1, 11))
    assert events[4].epoch == 1
    assert trainer.counters.characters == 2 * trainer.streams.characters
    records = [r for r in trainer.directory.metrics() if r["kind"] == "train"]
    assert [r["characters"] for r in records][:2] == [2 * 4 * 4 * 20, 4 * 4 * 4 * 20]


def test_reported_loss_is_plain_with_smoothed_labels(make_trainer, make_config, tmp_path):
    plain, smoothed = (make_trainer(make_config(label_smoothing=s), tmp_path / str(s)) for s in (0.0, 0.3))
    batch, carried = plain.streams.next_batch(), plain.state.carried
    nats = [trainer.step.gradients(trainer.step.inputs([batch]), carried)[0][0] for trainer in (plain, smoothed)]
    torch.testing.assert_close(*nats)
    logits, _ = plain.model(batch.previous, carried)
    loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), label_smoothing=0.3)
    expected = torch.autograd.grad(loss, list(plain.model.parameters()))
    for p, gradient in zip(smoothed.model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-7)


def test_parts_are_trained_at_their_learning_rates(make_trainer, make_config, tmp_path):
    model = {"front_end": "embedding", "embedding_size": 3, "direction": "bidirectional"}
    factors = {"front_end": 0.5, "recurrent": 0.0, "head": 3.0}
    settings = {**PLAIN_SGD, "learning_rate": 0.25, "budget": {"steps": 1}, "weight_decay": 0.125}
    changes = []
    for name, given in (("plain", {}), ("factors", {"learning_rate_factors": factors})):
        trainer = make_trainer(make_config(model, **settings, **given), tmp_path / name)
        before = weights_of(trainer)
        trainer._step()
        changes.append({key: w - before[key] for key, w in weights_of(trainer).items()})
    for key, change in changes[1].items():
        factor = factors[key.partition(".")[0].removesuffix("_backward")]
        torch.testing.assert_close(change, factor * changes[0][key], rtol=1e-4, atol=1e-6)
        assert changes[0][key].any()


def test_learning_rate_is_scaled_with_the_length_of_the_chunk(make_trainer, make_config):
    config = make_config(**PLAIN_SGD, sequence_length_std=4, learning_rate=0.5, budget={"epochs": 2})
    trainer = make_trainer(config)
    lengths, rates = [], []
    gradients, set_rate = trainer.step.gradients, trainer.step.set_learning_rate
    trainer.step.gradients = lambda inputs, state: lengths.append(len(inputs[0].targets)) or gradients(inputs, state)
    trainer.step.set_learning_rate = lambda rate: rates.append(rate) or set_rate(rate)
    events = [event for event in trainer.run() if isinstance(event, Progress)]
    assert np.std(lengths) > 2
    assert rates == [0.5 * length / 20 for length in lengths]
    assert {event.learning_rate for event in events} == {0.5}
    assert trainer.counters.characters == 2 * trainer.streams.characters
