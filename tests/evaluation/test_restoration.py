"""Restoration by perfect models, by constant models, and against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.evaluation import restoration, restore
from charlstm.evaluation.restoration import CONTEXT, _gap_starts, _guesses
from charlstm.generation.gibbs_chains import GibbsChains
from charlstm.generation.infilling import stationary
from charlstm.model import LanguageModel

V = 7
DIRECTIONS = ["forward", "backward", "bidirectional"]


def make_model(direction: str, vocabulary: int = V, **options) -> LanguageModel:
    torch.manual_seed(2)
    return LanguageModel(ModelConfig(**{"hidden_size": vocabulary, "direction": direction, **options}), vocabulary)


@torch.no_grad()
def perfect_model(direction: str, sides: str = "fb") -> LanguageModel:
    """A model that predicts its neighbor's id plus or minus one: h is the one-hot vector of the latest character."""
    model = make_model(direction, cell="rnn", front_end="one_hot")
    for parameter in model.parameters():
        parameter.zero_()
    for stack in (model.recurrent, model.recurrent_backward):
        if stack is not None:
            stack.get_parameter("weight_ih_l0").copy_(9 * torch.eye(V))
    after, before = (30 * torch.eye(V).roll(shift, 0) for shift in (1, -1))
    if direction == "bidirectional":
        model.head.weight.copy_(torch.cat([after * ("f" in sides), before * ("b" in sides)], 1))
    else:
        model.head.weight.copy_(after if direction == "forward" else before)
    return model


COUNTING = (np.arange(4000) % V).astype(np.uint8)
RANDOM = np.random.default_rng(1).choice(V, 4000, p=[0.1, 0.1, 0.3, 0.1, 0.2, 0.1, 0.1]).astype(np.uint8)


@pytest.fixture
def _short_chains(monkeypatch):
    """For models whose guess depends on the neighbors in the gap through few sweeps, or not at all."""
    monkeypatch.setattr(restoration, "MAX_SWEEPS", 20)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.few(1)
def test_perfect_model_restores_everything(direction):
    for r in restore(perfect_model(direction), COUNTING, [1, 3, 8], gaps=20):
        assert (r.restored, r.low, r.high) == (1, 1, 1)
        assert r.greedy == (None if direction == "bidirectional" else 1)


@pytest.mark.parametrize("side", ["f", "b"])
@pytest.mark.few(1)
@pytest.mark.usefixtures("_short_chains")
def test_context_on_one_side_is_enough(side):
    assert [r.restored for r in restore(perfect_model("bidirectional", side), COUNTING, [1, 8], gaps=20)] == [1, 1]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.usefixtures("_short_chains")
def test_constant_model_restores_the_most_frequent(direction):
    model = make_model(direction)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.arange(V) == 2)  # the most frequent one
    (r,) = restore(model, RANDOM, [3], gaps=100)
    assert r.restored == pytest.approx(r.most_frequent)
    assert r.low < r.restored < r.high
    deviation = np.sqrt(0.3 * 0.7 / 300)
    assert abs(r.restored - 0.3) < 4 * deviation
    assert r.high - r.low == pytest.approx(2 * 1.96 * deviation, rel=0.25)


def conditionals(model: LanguageModel, text: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray]:
    """p(a | b) and p(b | a) for the two positions from ``position``; for a unidirectional model p(a) and p(b | a)."""
    column = torch.from_numpy(text.astype(np.int64))[:, None]
    if model.bidirectional:
        symbols = GibbsChains(model, column, [position, position + 1], V)
        symbols.ids.copy_(torch.arange(V))
        return tuple(symbols.conditionals().exp().double())
    before = torch.cat([torch.tensor([[V]]), column[:position]])
    y, state = model.encode(before)
    first = model.head(y[-1]).softmax(-1)[0]
    y, _ = model.encode(torch.arange(V)[None], tuple(part.expand(-1, V, -1) for part in state))
    return first.double(), model.head(y[0]).softmax(-1).double()


@pytest.mark.parametrize("direction", DIRECTIONS)
@torch.no_grad()
def test_the_guess_is_the_mode_of_the_enumerated_marginals(monkeypatch, direction):
    monkeypatch.setattr(restoration, "SWEEPS", 200)
    model = make_model(direction, hidden_size=16)
    for parameter in model.parameters():
        parameter.mul_(5)
    starts = _gap_starts(len(RANDOM), 2, 30, 1)
    result, greedy = _guesses(model, RANDOM, starts, 2, 1, lambda: None)
    checked = np.zeros(2, int)
    for n, start in enumerate(starts):
        window = RANDOM[start - CONTEXT : start + 2 + CONTEXT]
        if direction == "backward":
            window = window[::-1]
        a, b = conditionals(model, window, CONTEXT)
        joint = stationary(a, b) if model.bidirectional else a[:, None] * b
        marginals = [joint.sum(1), joint.sum(0)]
        one_by_one = [0, 0] if model.bidirectional else [int(a.argmax()), int(b[a.argmax()].argmax())]
        order = (1, 0) if direction == "backward" else (0, 1)
        for position, (p, best) in enumerate(zip(marginals, one_by_one, strict=True)):
            assert greedy is None or greedy[order[position], n] == best
            best_two = p.topk(2).values
            if best_two[0] - best_two[1] > 0.08:
                assert result[order[position], n] == p.argmax()
                checked[position] += 1
    assert (checked >= 8).all()


def test_gaps_are_spread_and_reproducible():
    for length in (1, 8):
        result = _gap_starts(10_000, length, 50, 3)
        assert (result == _gap_starts(10_000, length, 50, 3)).all()
        assert (result != _gap_starts(10_000, length, 50, 4)).any()
        assert (np.diff(result) >= length).all()
        assert result.min() >= CONTEXT
        assert result.max() + length <= 10_000 - CONTEXT
        spacing = (10_000 - 2 * CONTEXT) // 50
        assert ((result - CONTEXT) // spacing).tolist() == list(range(50))
    assert _gap_starts(2 * CONTEXT + 6, 3, 2, 1).tolist() == [CONTEXT, CONTEXT + 3]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.usefixtures("_short_chains")
def test_restoration_is_reproducible_without_side_effects(direction):
    model = make_model(direction, dropout=0.5, num_layers=2).train()
    before = torch.get_rng_state()
    a = list(restore(model, RANDOM, [2], gaps=10))
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    assert a == list(restore(model.eval(), RANDOM, [2], gaps=10))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batch_size_does_not_change_gaps_of_one_character(direction, monkeypatch):
    model = make_model(direction, hidden_size=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    full = _guesses(model, RANDOM, _gap_starts(len(RANDOM), 1, 10, 1), 1, 1, lambda: None)
    monkeypatch.setattr(restoration, "BATCH", 16)
    parts = _guesses(model, RANDOM, _gap_starts(len(RANDOM), 1, 10, 1), 1, 1, lambda: None)
    assert len(set(full[0].flatten().tolist())) > 1
    for a, b in zip(full, parts, strict=True):
        assert (a is None) == (b is None)
        assert a is None or a.tolist() == b.tolist()


@pytest.mark.parametrize(
    ("lengths", "gaps", "message"),
    [
        ([], 5, "gaps and their lengths must be 1 or more"),
        ([0], 5, "gaps and their lengths must be 1 or more"),
        ([3], 0, "gaps and their lengths must be 1 or more"),
        ([3], 2000, "6,512 characters"),
    ],
    ids=str,
)
def test_invalid_arguments_are_refused(lengths, gaps, message):
    with pytest.raises(UserError, match=message):
        list(restore(make_model("forward"), RANDOM, lengths, gaps))


def test_callback_can_stop_it():
    def stop():
        raise KeyboardInterrupt

    for direction in DIRECTIONS:
        with pytest.raises(KeyboardInterrupt):
            list(restore(make_model(direction), RANDOM, [3], on_chunk=stop))
