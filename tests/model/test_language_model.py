"""The language model: its context, front ends, submodules, and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.model import LanguageModel

V, T, B = 7, 9, 3
FRONT_ENDS = [
    {"front_end": "one_hot"},
    {"front_end": "embedding", "embedding_size": 5},
    {"front_end": "convolution", "embedding_size": 5, "kernel_sizes": [1, 3], "filters": 4, "highway": True},
]
fronts = pytest.mark.parametrize("front", FRONT_ENDS, ids=lambda front: front["front_end"])
CONFIGURATIONS = [{"cell": c.base, **c.options} for c in CELLS.values()]
WITH_FORGET_GATE = [{"cell": c.base, **c.options} for c in CELLS.values() if c.forget_gate]


def with_fronts(*configurations: dict[str, Any], fast: Sequence[str] = tuple(CELLS)) -> Any:
    """Each configuration with each front end that it supports: a reservoir supports one-hot only. Pairs of a cell that
    is not ``fast`` and another front end than the first are slow."""
    few = [{"cell": CELLS[name].base, **CELLS[name].options} for name in fast]
    pairs = [
        pytest.param(f, front, marks=() if f in few or front is FRONT_ENDS[0] else pytest.mark.slow)
        for f in configurations
        for front in FRONT_ENDS
        if f.get("cell") != "esn" or len(front) == 1
    ]
    return pytest.mark.parametrize(("fields", "front"), pairs, ids=str)


def model(vocabulary_size: int = V, **fields: Any) -> LanguageModel:
    torch.manual_seed(11)
    return LanguageModel(ModelConfig(**{"hidden_size": 6, **fields}), vocabulary_size).double()


def text(steps: int = T, batch: int = B, vocabulary_size: int = V) -> Tensor:
    return torch.randint(vocabulary_size, (steps, batch), generator=torch.Generator().manual_seed(2))


def around(ids: Tensor, vocabulary_size: int = V) -> tuple[Tensor, Tensor]:
    """The character before and after each position; V beyond the ends."""
    none = ids.new_full((1, ids.shape[1]), vocabulary_size)
    return torch.cat([none, ids[:-1]]), torch.cat([ids[1:], none])


def predict(network: LanguageModel, ids: Tensor) -> Tensor:
    previous, following = around(ids)
    return network(previous, following=following if network.bidirectional else None)[0]


def changed(ids: Tensor, t: int) -> Tensor:
    other = ids.clone()
    other[t] = (other[t] + 1) % V
    return other


@fronts
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_bidirectional_model_does_not_see_its_targets(num_layers, front):
    network = model(direction="bidirectional", num_layers=num_layers, **front).eval()
    ids = text()
    before = predict(network, ids)
    for t in range(T):
        after = predict(network, changed(ids, t))
        assert torch.equal(after[t], before[t])
        for other in {0, t - 1, t + 1, T - 1} & set(range(T)) - {t}:
            assert (after[other] != before[other]).any(), f"position {other} does not see character {t}"


@fronts
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_unidirectional_model_sees_only_earlier_characters(num_layers, direction, front):
    network = model(direction=direction, num_layers=num_layers, **front).eval()
    ids = text()
    before = predict(network, ids)
    for t in range(T):
        after = predict(network, changed(ids, t))
        assert torch.equal(after[: t + 1], before[: t + 1])
        for later in range(t + 1, T):
            assert (after[later] != before[later]).any()


@pytest.mark.parametrize("fields", CONFIGURATIONS, ids=str)
def test_every_cell_sees_only_its_context(fields):
    ids = text()
    for direction in ("forward", "bidirectional"):
        network = model(direction=direction, num_layers=2, **fields).eval()
        before, after = predict(network, ids), predict(network, changed(ids, 4))
        assert torch.equal(after[4], before[4])
        assert direction == "bidirectional" or torch.equal(after[:4], before[:4])
        assert (after[5] != before[5]).any()


def test_bidirectional_concatenates_two_stacks_before_the_head():
    network = model(direction="bidirectional", num_layers=2, front_end="one_hot").eval()
    ids = text()
    previous, following = around(ids)
    state = tuple(torch.randn(2, B, 6).double() for _ in range(2))
    forward, _ = network.recurrent(previous)
    backward, _ = network.recurrent_backward(following.flip(0), state)
    logits, _ = network(previous, following=following, state_after=state)
    torch.testing.assert_close(logits, network.head(torch.cat([forward, backward.flip(0)], -1)))


def test_bidirectional_model_requires_following_characters():
    with pytest.raises(ValueError, match="following"):
        model(direction="bidirectional")(text())


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_embedding_look_up_equals_multiplication(direction):
    """Many characters: a look-up in W E^T. Few: vectors times W. Against a matmul with one-hot vectors."""
    for vocabulary_size in (V, 30):
        ids = text(4, 2)
        ids[0, 0] = vocabulary_size
        network = model(vocabulary_size, front_end="embedding", embedding_size=5, direction=direction)
        _, project = network.front_end(ids)
        assert (project is not None) == (vocabulary_size <= ids.numel())
        following = ids.flip(0) if network.bidirectional else None
        actual = network(ids, following=following)[0]
        vectors = F.one_hot(ids, vocabulary_size + 1)[..., :vocabulary_size].double()
        dense = vectors @ network.front_end.weight
        y = network.recurrent(dense)[0]
        if network.bidirectional:
            y = torch.cat([y, network.recurrent_backward(dense)[0].flip(0)], -1)
        expected = network.head(y)
        torch.testing.assert_close(actual, expected)
        gradients = [torch.autograd.grad(t.square().sum(), list(network.parameters())) for t in (actual, expected)]
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("front", FRONT_ENDS[:2], ids=["one_hot", "embedding"])
@pytest.mark.parametrize("many", [True, False], ids=["looked-up", "multiplied"])
def test_no_character_is_the_zero_vector(front, many):
    network = model(**front)
    stack = network.recurrent
    ids = torch.full((1, V if many else 1), V)
    actual, _ = network.encode(ids)
    expected, _ = stack(torch.zeros(*ids.shape, stack.input_size).double())
    torch.testing.assert_close(actual, expected)
    other, _ = network.encode(ids * 0)
    assert not torch.allclose(other, actual)


@fronts
def test_parameter_counts(front):
    for direction, stacks in (("forward", 1), ("bidirectional", 2)):
        network = model(direction=direction, num_layers=2, **front)
        inputs = {"one_hot": V, "embedding": 5, "convolution": 8}[front["front_end"]]
        stack = 4 * 6 * (inputs + 6 + 2) + 4 * 6 * (6 + 6 + 2)
        expected = {"recurrent": stack, "head": (6 * stacks + 1) * V}
        if stacks == 2:
            expected["recurrent_backward"] = stack
        if front["front_end"] == "embedding":
            expected["front_end"] = V * 5
        elif front["front_end"] == "convolution":
            expected["front_end"] = V * 5 + 4 * (1 + 3) * 5 + 8 + 2 * 8 * (8 + 1)
            if stacks == 2:
                expected["front_end_backward"] = expected["front_end"]
        assert network.parameter_counts() == expected
        assert sum(expected.values()) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_dropout_acts_below_the_head_in_training_only(kind):
    network = model(dropout=0.5, dropout_kind=kind)
    ids = text()
    assert not torch.equal(network(ids)[0], network(ids)[0])
    network.eval()
    plain = model()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network(ids)[0], plain(ids)[0])


@pytest.mark.parametrize("fields", WITH_FORGET_GATE, ids=str)
def test_forget_bias_is_the_sum_of_both_biases(fields):
    low, high = (model(num_layers=2, forget_bias=b, **fields) for b in (0.0, 3.5))
    assert {n: p.shape for n, p in low.state_dict().items()} == {n: p.shape for n, p in high.state_dict().items()}
    cell = high.recurrent.cell
    start = cell.gates.index(cell.forget_gate) * 6
    rows = slice(start, start + 6)
    for network, value in ((low, 0.0), (high, 3.5)):
        for layer in ("_l0", "_l1"):
            weights = network.recurrent.weights(layer)
            assert torch.equal((weights.bias_ih + weights.bias_hh)[rows], torch.full((6,), value).double())
    for (name, a), b in zip(low.state_dict().items(), high.state_dict().values(), strict=True):
        if "bias" not in name:
            assert torch.equal(a, b)


@with_fronts(*CONFIGURATIONS)
def test_chunks_with_carried_state_equal_the_full_text(fields, front):
    network = model(num_layers=2, **fields, **front)
    ids = text(12)
    full, last = network(ids)
    state, parts = network.initial_state(B), []
    for chunk in ids.split([5, 1, 6]):
        logits, state = network(chunk, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts), full)
    for a, b in zip(state, last, strict=True):
        torch.testing.assert_close(a, b)
    trainable = [p for p in network.parameters() if p.requires_grad]
    sums = (torch.cat(parts).square().sum(), full.square().sum())
    gradients = [torch.autograd.grad(s, trainable) for s in sums]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_backward_stack_continues_from_a_carried_state():
    network = model(direction="bidirectional", **FRONT_ENDS[2])
    following = text(12)
    full, _ = network.encode_backward(following)
    right, state = network.encode_backward(following[7:])
    left, _ = network.encode_backward(following[:7], state)
    torch.testing.assert_close(torch.cat([left, right]), full)
    alone, _ = network.encode_backward(following[:7])
    assert not torch.allclose(alone[-1], left[-1])


@pytest.mark.parametrize("kernel_sizes", [[1], [2], [1, 20]], ids=str)
def test_zero_state_is_the_beginning_of_a_text(kernel_sizes):
    network = model(front_end="convolution", kernel_sizes=kernel_sizes, filters=3)
    ids = text(4)
    state = network.initial_state(B)
    assert [part.shape for part in state] == [(1, B, 6), (1, B, 6), (max(kernel_sizes) - 1, B, 1)]
    assert not any(part.any() for part in state)
    none = torch.full((max(kernel_sizes) - 1, B), V)
    x, _ = network.front_end(torch.cat([none, ids]))
    expected = network.head(network.recurrent(x)[0])
    for actual in (network(ids)[0], network(ids, state)[0]):
        assert torch.equal(actual, expected)


@with_fronts(*CONFIGURATIONS, {"direction": "bidirectional"}, fast=("lstm", "rnn"))
@pytest.mark.few(8)
def test_training_lowers_the_loss(fields, front):
    network = model(**{"hidden_size": 16, **fields}, **front).float()
    ids = (torch.arange(24) % 4)[:, None].repeat(1, 2)
    previous, following = around(ids)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        logits, _ = network(previous, following=following if network.bidirectional else None)
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5
    assert losses[-1] < 0.5
