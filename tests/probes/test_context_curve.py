"""Loss against context length, for models with a known context, and against one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import nats_per_character
from charlstm.model import LanguageModel
from charlstm.probes import context
from charlstm.probes.context import context_curve

V = 7


def make_model(**options) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(ModelConfig(**{"hidden_size": 10, **options}), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        model.head.bias.normal_()
    return model


def without_memory(**options) -> LanguageModel:
    """An LSTM with a closed forget gate and without recurrent weights."""
    model = make_model(**options)
    with torch.no_grad():
        model.recurrent.get_parameter("weight_hh_l0").zero_()
        model.recurrent.get_parameter("weight_ih_l0").chunk(4)[1].zero_()
        model.recurrent.get_parameter("bias_ih_l0").chunk(4)[1].fill_(-100)
    return model


def ids_of(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(V, size=n).astype(np.uint8)


@torch.no_grad()
def naive(model: LanguageModel, ids: np.ndarray, target: int, length: int) -> float:
    logits = model.head.bias
    if length:
        read = torch.from_numpy(ids[target - length : target].astype(np.int64))[:, None]
        logits = model(read, model.initial_state(1))[0][-1, 0]
    return -float(logits.double().log_softmax(-1)[int(ids[target])])


@pytest.mark.parametrize("batch", [3, 256])
@pytest.mark.parametrize("chunk", [1, 7, 128])
@pytest.mark.parametrize(
    "options",
    [{}, {"cell": "gru", "num_layers": 2}, {"cell": "rnn", "num_layers": 2, "residual": True}],
    ids=str,
)
def test_loss_uses_exactly_the_given_context_length(monkeypatch, options, chunk, batch):
    monkeypatch.setattr(context, "CHUNK", chunk)
    monkeypatch.setattr(context, "BATCH", batch)
    model, ids = make_model(**options), ids_of(200)
    curve = context_curve(model, ids, [20, 0, 1, 2, 20], targets=10)
    assert curve.lengths.tolist() == [0, 1, 2, 20]
    expected = [[naive(model, ids, t, n) for t in curve.targets.tolist()] for n in curve.lengths.tolist()]
    np.testing.assert_allclose(curve.nats, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curve.mean, np.mean(expected, 1), rtol=1e-4)


def test_network_without_memory_uses_one_character():
    curve = context_curve(without_memory(), ids_of(400), [0, 1, 2, 10, 100], targets=50)
    assert (curve.nats[0] != curve.nats[1]).all()
    np.testing.assert_allclose(curve.nats[2:], curve.nats[[1, 1, 1]], atol=1e-5)


def test_window_of_three_uses_three_characters_of_context():
    model = without_memory(front_end="convolution", kernel_sizes=[1, 3], filters=6)
    curve = context_curve(model, ids_of(400), [1, 2, 3, 4, 50], targets=50)
    assert (np.abs(curve.nats[:2] - curve.nats[2]) > 1e-3).mean() > 0.9
    np.testing.assert_allclose(curve.nats[3:], curve.nats[[2, 2]], atol=1e-5)


def test_adding_cell_uses_the_full_context():
    """A cell that counts a symbol (its gates open) distinguishes 40 characters of context from 50."""
    model, ids = make_model(hidden_size=1, front_end="one_hot"), np.zeros(300, np.uint8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        i, f, _, o = model.recurrent.get_parameter("bias_ih_l0").chunk(4)
        for gate in (i, f, o):
            gate.fill_(20)
        model.recurrent.get_parameter("weight_ih_l0").chunk(4)[2][0, 0] = 0.01
        model.head.weight[0, 0] = 1
    curve = context_curve(model, ids, [0, 1, 10, 40, 50], targets=5)
    logits = np.tanh(0.01 * curve.lengths)
    np.testing.assert_allclose(curve.mean, np.log(np.exp(logits) + V - 1) - logits, atol=1e-4)


def test_full_context_gives_the_ordinary_score():
    model, ids = make_model(), ids_of(900)
    curve = context_curve(model, ids, [1, 400], targets=100)
    expected = nats_per_character(model, ids)[curve.targets]
    np.testing.assert_allclose(curve.nats[1], expected, atol=1e-4)
    assert np.abs(curve.nats[0] - expected).max() > 0.1


def test_targets_are_spread_and_have_the_longest_context():
    model, ids = make_model(), ids_of(500)
    curve = context_curve(model, ids, [0, 100], targets=40, seed=2)
    parts = (curve.targets - 100) // 10
    np.testing.assert_array_equal(parts, np.arange(40))
    assert len(set((curve.targets % 10).tolist())) > 3
    again, other = (context_curve(model, ids, [5, 100], targets=40, seed=seed).targets for seed in (2, 3))
    np.testing.assert_array_equal(again, curve.targets)
    assert (other != curve.targets).any()


def test_every_position_can_be_a_target():
    assert context_curve(make_model(), ids_of(30), [10], targets=20).targets.tolist() == list(range(10, 30))


def test_model_and_random_state_are_unchanged():
    model, before = make_model(dropout=0.5, num_layers=2).train(), torch.get_rng_state()
    result = context_curve(model, ids_of(60), [5], targets=10)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(context_curve(model.eval(), ids_of(60), [5], targets=10).nats, result.nats)


def test_callback_can_stop_it():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        context_curve(make_model(), ids_of(60), [5], targets=10, on_chunk=stop)


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
def test_only_a_forward_model_has_a_curve(direction):
    with pytest.raises(UserError, match=f"direction: forward, found {direction}"):
        context_curve(make_model(direction=direction), ids_of(60), [5], targets=10)


@pytest.mark.parametrize(
    ("lengths", "targets", "words"),
    [
        ([], 3, "lengths"),
        ([-1], 3, "lengths"),
        ([3], 0, "targets"),
        ([41], 20, "need a text of 61 characters, found 60"),
    ],
)
def test_invalid_arguments_are_refused(lengths, targets, words):
    with pytest.raises(UserError, match=words):
        context_curve(make_model(), ids_of(60), lengths, targets)


def read_ids(ids: np.ndarray, far: str, **options) -> tuple[np.ndarray, np.ndarray]:
    """The characters that the model reads at length 3 of 3 and 20, [20, targets], and the targets."""
    model, windows = make_model(), []
    hidden = model.hidden

    def record(window, state):
        windows.append(window.numpy().copy())
        return hidden(window, state)

    model.hidden = record
    curve = context_curve(model, ids, [3, 20], targets=8, far=far, **options)
    return windows[0], curve.targets


def test_far_context_is_shuffled_and_the_near_one_is_not():
    ids = np.arange(400) % V
    read, targets = read_ids(ids, "shuffled")
    original = ids[targets + np.arange(-20, 0)[:, None]]
    np.testing.assert_array_equal(read[-3:], original[-3:])
    np.testing.assert_array_equal(np.sort(read[:-3], 0), np.sort(original[:-3], 0))
    assert (read[:-3] != original[:-3]).any(0).all()
    assert (read != read_ids(ids, "shuffled", seed=2)[0]).any()


@pytest.mark.parametrize("characters", [60, 200])
def test_far_context_is_replaced_by_that_of_another_position(characters):
    targets = np.arange(20, characters)
    indices = context._positions_read(characters, targets, 3, 20, "replaced", 1)
    np.testing.assert_array_equal(indices[-3:], targets + np.arange(-3, 0)[:, None])
    np.testing.assert_array_equal(np.diff(indices[:-3], axis=0), 1)
    donors = indices[0] + 20
    assert (np.abs(donors - targets) >= 20).all()
    assert donors.min() >= 20
    assert donors.max() <= characters


@pytest.mark.parametrize("far", ["shuffled", "replaced"])
def test_far_context_does_not_matter_at_the_longest_length(far):
    model, ids = make_model(), ids_of(300)
    cut, changed = (context_curve(model, ids, [0, 3, 30], targets=20, far=one) for one in ("cut", far))
    np.testing.assert_array_equal(cut.targets, changed.targets)
    np.testing.assert_array_equal(cut.nats[-1], changed.nats[-1])
    assert (cut.nats[:-1] != changed.nats[:-1]).all()


@pytest.mark.parametrize("far", ["shuffled", "replaced"])
def test_network_without_memory_ignores_the_far_context(far):
    curve = context_curve(without_memory(), ids_of(400), [1, 2, 10, 100], targets=50, far=far)
    np.testing.assert_allclose(curve.nats[:-1], curve.nats[[-1, -1, -1]], atol=1e-5)


def test_adding_cell_does_not_notice_the_order_but_the_replacement():
    """A cell that adds up values of the characters is invariant under shuffling."""
    model = make_model(cell="rnn", hidden_size=1, front_end="one_hot")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recurrent.get_parameter("weight_ih_l0").copy_(1e-4 * torch.arange(float(V)))
        model.recurrent.get_parameter("weight_hh_l0").fill_(1)
        model.head.weight[0, 0] = 30
    cut, shuffled, replaced = (
        context_curve(model, ids_of(400), [0, 5, 50], targets=50, far=far).nats
        for far in ("cut", "shuffled", "replaced")
    )
    np.testing.assert_allclose(shuffled, shuffled[[-1, -1, -1]], atol=2e-4)
    assert np.abs(replaced[:2] - replaced[-1]).max() > 1e-3
    assert np.abs(cut[:2] - cut[-1]).max() > 1e-3


def test_far_context_that_cannot_be_changed_is_refused():
    with pytest.raises(UserError, match="far must be cut, shuffled, replaced, found lost"):
        context_curve(make_model(), ids_of(60), [5], targets=10, far="lost")
    with pytest.raises(UserError, match="needs as many elsewhere, found 60 in all"):
        context_curve(make_model(), ids_of(60), [3, 40], targets=10, far="replaced")
