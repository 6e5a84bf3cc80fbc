"""Activation regularization, and resets of the carried state."""

from __future__ import annotations

import pytest
import torch
from test_checkpoint_manager import assert_same, train
from torch.nn import functional as F

from charlstm.text.corpus import load_corpus
from charlstm.text.streams import IGNORE, Batch
from charlstm.training.regularization import ActivationRegularization, rows_to_reset, state_after_reset

RATES = (
    "embedding_dropout",
    "input_dropout",
    "hidden_dropout",
    "weight_drop",
    "state_dropout",
    "zoneout_h",
    "zoneout_c",
)
BOTH = {"activation_regularization": 2.0, "temporal_activation_regularization": 3.0}


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{'abcde'[n % 5] * (1 + n % 7)}x\n" for n in range(80)))
    return load_corpus(str(path), documents="newline")


@pytest.mark.parametrize("documents", [False, True], ids=["streams", "documents"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_gradient_is_that_of_loss_plus_regularization(make_config, make_trainer, corpus, lines, direction, documents):
    """As in Merity et al. 2017; the reported loss is that without it."""
    text = lines if documents else corpus
    source = {"source": text.sources[0], **({"documents": "newline"} if documents else {})}
    fields = {"direction": direction, "executor": "eager", "output_dropout": 0.4}
    trainer = make_trainer(make_config(fields, source, sequence_length=6, **BOTH), text=text)
    batch, model = trainer.streams.next_batch(), trainer.model
    torch.manual_seed(4)
    nats, _ = trainer.step.gradients(trainer.step.inputs([batch]), trainer.state.carried)
    gradients = [p.grad.clone() for p in model.parameters()]

    torch.manual_seed(4)
    following = batch.following if model.bidirectional else None
    y, _ = model.outputs(batch.previous, trainer.state.carried, following, lengths=batch.lengths)
    dropped = model.drop_output(y)
    loss = F.cross_entropy(model.head(dropped).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    counted = batch.targets != IGNORE
    changes = torch.stack([(y[t, b] - y[t - 1, b]) ** 2 for b, t in _positions(counted) if t and counted[t - 1, b]])
    expected = loss + 2 * dropped[counted].square().mean() + 3 * changes.mean()
    assert documents == bool((~counted).any())
    assert float(nats[0]) == pytest.approx(float(loss.detach()), rel=1e-6)
    for actual, gradient in zip(gradients, torch.autograd.grad(expected, model.parameters()), strict=True):
        torch.testing.assert_close(actual, gradient)


def _positions(counted):
    return [(b, t) for t in range(len(counted)) for b in range(len(counted[0])) if counted[t, b]]


def test_gradients_of_parts_add_up_to_that_of_the_batch():
    torch.manual_seed(1)
    y, targets = torch.randn(5, 6, 3, requires_grad=True), torch.randint(4, (5, 6))
    targets[3:, 1] = IGNORE
    regularization, loss = ActivationRegularization(2.0, 3.0), torch.zeros(())
    counts = regularization.counts(targets)
    assert counts.tolist() == [28, 22]
    (whole,) = torch.autograd.grad(regularization.add_gradient(loss, y, 2 * y, targets, counts), y)
    parts = [
        regularization.add_gradient(loss, y[:, at], 2 * y[:, at], targets[:, at], counts)
        for at in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(torch.autograd.grad(parts[0] + parts[1], y)[0], whole)
    assert [float(part.detach()) for part in parts] == [0, 0]


def test_chunk_of_one_character_has_no_temporal_term():
    y, targets = torch.ones(1, 2, 3, requires_grad=True), torch.zeros(1, 2, dtype=torch.int64)
    regularization = ActivationRegularization(0.0, 1.0)
    value = regularization.add_gradient(torch.ones(()), y, y, targets, regularization.counts(targets))
    assert torch.equal(torch.autograd.grad(value, y)[0], torch.zeros(1, 2, 3))


def batch_of(size: int, reset: bool = False, fresh=None) -> Batch:
    ids = torch.zeros(4, size, dtype=torch.int64)
    return Batch(ids, ids, ids, reset, 4 * size, fresh=fresh)


def state_before(batch, carried, probability):
    return state_after_reset(carried, rows_to_reset(batch, probability, torch.device("cpu")))


def test_streams_are_reset_with_the_probability():
    """Each stream, in all layers and parts of its state."""
    carried = (torch.ones(2, 1000, 3), torch.ones(2, 1000, 3))
    torch.manual_seed(1)
    h, c = state_before(batch_of(1000), carried, 0.2)
    torch.manual_seed(1)
    reset = torch.rand(1000) < 0.2
    assert 0.15 < reset.double().mean() < 0.25
    for part in (h, c):
        assert torch.equal(part, (~reset).float()[:, None].expand(2, 1000, 3))
    fresh = torch.arange(1000) < 10
    torch.manual_seed(1)
    h, _ = state_before(batch_of(1000, fresh=fresh), carried, 0.2)
    assert torch.equal(h, (~(reset | fresh)).float()[:, None].expand(2, 1000, 3))


def test_new_sequences_begin_with_zeros_and_nothing_is_drawn():
    carried, before = (torch.ones(1, 4, 2),), torch.get_rng_state()
    fresh = torch.tensor([True, False, False, True])
    (state,) = state_before(batch_of(4, fresh=fresh), carried, 0.0)
    assert state[0, :, 0].tolist() == [0, 1, 1, 0]
    assert not state_before(batch_of(4, reset=True), carried, 0.0)[0].any()
    assert state_before(batch_of(4), carried, 0.0) is carried
    assert torch.equal(torch.get_rng_state(), before)


def test_training_resets_the_state_between_chunks(make_config, make_trainer, monkeypatch):
    model = {"front_end": "convolution", "filters": 3, "executor": "eager"}
    trainer = make_trainer(make_config(model, reset_state=0.5, batch_size=8))
    states, loss = [], trainer.step.loss

    def recorded(batch, carried):
        states.append([part.clone() for part in carried])
        return loss(batch, carried)

    monkeypatch.setattr(trainer.step, "loss", recorded)
    for _ in range(6):
        trainer._step()
    is_zero = torch.stack([torch.stack([(part == 0).all(-1).all(0) for part in state]) for state in states[1:]])
    assert (is_zero == is_zero[:, :1]).all(), "h, c and the window of the convolution together"
    assert 0.2 < is_zero.double().mean() < 0.8


def test_resumed_run_equals_uninterrupted_run(make_config, make_trainer, tmp_path):
    """With all masks, tied weights and resets, which torch's random state determines."""
    model = {**dict.fromkeys(RATES, 0.3), "num_layers": 2, "output": "sum", "front_end": "embedding"}
    model |= {"tie_weights": True, "executor": "eager"}
    config = make_config(model, reset_state=0.3, budget={"steps": 9}, evaluate_every=4, sample_length=3, **BOTH)
    train(make_trainer, config, tmp_path / "uninterrupted")
    train(make_trainer, config, tmp_path / "stopped", [3, 7])
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")
