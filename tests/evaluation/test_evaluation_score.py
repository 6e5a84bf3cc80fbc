"""Every character is scored exactly once, with context, whatever the chunk sizes."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.evaluation import Score, nats_per_character, score
from charlstm.evaluation.score import block_error
from charlstm.model import LanguageModel, head_loss

score_module = sys.modules[score.__module__]

V = 11


def make_model(vocabulary: int = V, **options) -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(ModelConfig(**{"hidden_size": 12, **options}), vocabulary)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)  # so that the context matters
    return model


def ids_of(n: int, vocabulary: int = V) -> np.ndarray:
    return np.random.default_rng(n).integers(vocabulary, size=n).astype(np.uint16)


@torch.no_grad()
def naive(model: LanguageModel, ids: np.ndarray, width: int = 1) -> np.ndarray:
    """``width`` characters at a time from the start of the text, each scored before it is encoded."""
    model.eval()
    outputs, state = [], None
    for part in torch.tensor([[model.vocabulary_size], *ids[:-1, None].tolist()]).split(width):
        logits, state = model(part, state)
        outputs.append(logits[:, 0])
    return nats_of(torch.cat(outputs), ids)


@torch.no_grad()
def naive_both_sides(model: LanguageModel, ids: np.ndarray, width: int = 1) -> np.ndarray:
    """The forward stack from the start, the backward stack from the end, ``width`` characters at a time."""
    model.eval()
    none, sides = model.vocabulary_size, []

    def encode_backward(part, state):
        y, state = model.encode_backward(part.flip(0), state)
        return y.flip(0), state

    for encode, text in (
        (model.encode, [none, *ids[:-1].tolist()]),
        (encode_backward, [none, *ids[:0:-1].tolist()]),
    ):
        outputs, state = [], None
        for part in torch.tensor(text)[:, None].split(width):
            y, state = encode(part, state)
            outputs.append(y[:, 0])
        sides.append(torch.cat(outputs))
    before, after = sides
    return nats_of(model.head(torch.cat([before, after.flip(0)], 1)), ids)


def nats_of(logits: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    nats = -logits.double().log_softmax(-1)
    return nats[torch.arange(len(ids)), torch.from_numpy(ids.astype(np.int64))].numpy()


CONVOLUTION = {"front_end": "convolution", "kernel_sizes": [1, 2, 5], "filters": 4}
CELLS = [
    {"cell": "rnn"},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "reset_after": False},
    {"cell": "peephole", "front_end": "embedding", "embedding_size": 5},
    {"cell": "coupled"},
    CONVOLUTION,
    {"num_layers": 3, "residual": True},
]


@pytest.mark.parametrize(
    ("options", "n"),
    [
        pytest.param(options, n, marks=pytest.mark.slow if n == 700 and options not in (CELLS[1], CONVOLUTION) else ())
        for options in CELLS
        for n in (1, 2, 129, 700)
    ],
    ids=str,
)
@pytest.mark.few(10)
def test_a_short_text_equals_the_naive_score(options, n):
    model, ids = make_model(**options), ids_of(n)
    result = nats_per_character(model, ids)
    assert result.shape == (n,)
    np.testing.assert_allclose(result, naive(model, ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, pytest.param(CONVOLUTION, marks=pytest.mark.slow)], ids=["embedding", "convolution"]
)
def test_long_text_in_pieces_is_close_to_the_naive_score(options):
    model, ids = make_model(**options), ids_of(3 * 1024 + 2)
    actual, expected = nats_per_character(model, ids), naive(model, ids, width=len(ids))
    assert len(score_module._Pieces(model, ids).starts) == 3
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)
    assert actual.mean() == pytest.approx(expected.mean(), rel=1e-6)


@pytest.mark.parametrize(("characters", "pieces"), [(2000, 2), (4000, 2), (9000, 3), (50_000, 6)])
def test_long_text_is_cut_into_more_pieces(monkeypatch, characters, pieces):
    for name, value in {"STREAMS": 2, "MAX_STREAMS": 6, "LONG": 3000, "WARM_UP": 500}.items():
        monkeypatch.setattr(score_module, name, value)
    cut = score_module._Pieces(make_model(), ids_of(characters))
    assert (len(cut.starts), cut.lengths.sum()) == (pieces, characters)


def test_progress_rises_from_zero_to_the_last_chunk(monkeypatch):
    monkeypatch.setattr(score_module, "CHUNK", 50)
    for direction in ("forward", "bidirectional"):
        fractions: list[float] = []
        nats_per_character(make_model(direction=direction), ids_of(200), fractions.append)
        chunks = 8 if direction == "bidirectional" else 4
        assert fractions == [k / chunks for k in range(chunks)]


def test_longer_warm_up_reduces_the_error(monkeypatch):
    model, ids = make_model(), ids_of(600)
    expected, errors = naive(model, ids), []
    for warm_up, pieces in ((2, 64), (60, 5)):
        monkeypatch.setattr(score_module, "WARM_UP", warm_up)
        assert len(score_module._Pieces(model, ids).starts) == pieces
        errors.append(np.abs(nats_per_character(model, ids) - expected).max())
    assert errors[0] > 50 * errors[1] > 0


@pytest.mark.parametrize("n", [1, 2, 129, 300])
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2}, CONVOLUTION], ids=str)
@pytest.mark.few(4)
def test_bidirectional_equals_both_stacks_over_the_whole_text(options, n):
    model, ids = make_model(direction="bidirectional", **options), ids_of(n)
    np.testing.assert_allclose(nats_per_character(model, ids), naive_both_sides(model, ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2 * 1024 + 1])
@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), CONVOLUTION], ids=["embedding", "convolution"]
)
def test_bidirectional_in_pieces_is_close_to_naive(options, n):
    model, ids = make_model(direction="bidirectional", cell="gru", **options), ids_of(n)
    assert len(score_module._Pieces(model, ids).starts) == n // 1024
    expected = naive_both_sides(model, ids, width=n)
    np.testing.assert_allclose(nats_per_character(model, ids), expected, rtol=1e-3, atol=1e-3)


WIDTHS = [(1, 1 << 22), (7, 1 << 22), (5000, 1 << 22), (128, 1), (128, 9 * V)]


@pytest.mark.parametrize(
    ("direction", "chunk", "logits"),
    [
        pytest.param(direction, *widths, marks=pytest.mark.slow if 1 in widths and direction == "backward" else ())
        for direction in ("forward", "backward", "bidirectional")
        for widths in WIDTHS
    ],
)
@pytest.mark.parametrize("front", [{}, CONVOLUTION], ids=["embedding", "convolution"])
@pytest.mark.few(5)
def test_chunk_sizes_do_not_change_scores(monkeypatch, direction, chunk, logits, front):
    model, ids = make_model(direction=direction, **front), ids_of(2050)
    expected = nats_per_character(model, ids)
    monkeypatch.setattr(score_module, "CHUNK", chunk)
    monkeypatch.setattr(head_loss, "LOGITS", logits)
    np.testing.assert_allclose(nats_per_character(model, ids), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 50, 2500])
@pytest.mark.parametrize("front", [{}, CONVOLUTION], ids=["embedding", "convolution"])
def test_backward_equals_forward_over_reversed_text(n, front):
    forward, backward = make_model(**front), make_model(direction="backward", **front)
    backward.load_state_dict(forward.state_dict())
    ids = ids_of(n)
    np.testing.assert_array_equal(nats_per_character(backward, ids), nats_per_character(forward, ids[::-1])[::-1])


def test_probabilities_sum_to_one():
    """p(c | context) sums to one over c, and the score of a text consists of these."""
    model, ids = make_model(), ids_of(20)
    last = [nats_per_character(model, np.append(ids, c))[-1] for c in range(V)]
    assert sum(math.exp(-float(nats)) for nats in last) == pytest.approx(1, abs=1e-5)
    both = make_model(direction="bidirectional")
    middle = [nats_per_character(both, np.concatenate([ids[:9], [c], ids[10:]]))[9] for c in range(V)]
    assert sum(math.exp(-float(nats)) for nats in middle) == pytest.approx(1, abs=1e-5)


def test_score_of_a_character_depends_on_earlier_ones_only():
    model, ids = make_model(), ids_of(300)
    other = ids.copy()
    other[200] = (ids[200] + 1) % V
    a, b = nats_per_character(model, ids), nats_per_character(model, other)
    np.testing.assert_array_equal(a[:200], b[:200])
    assert (a[200:204] != b[200:204]).all()


@pytest.mark.parametrize("training", [True, False])
def test_scoring_disables_dropout_and_restores_the_mode(training):
    model, ids = make_model(dropout=0.5, num_layers=2), ids_of(100)
    model.train(training)
    result = score(model, ids)
    assert model.training is training
    assert all(part.training is training for part in model.modules())
    assert result == score(model.eval(), ids)


def test_mode_is_restored_after_an_error(monkeypatch):
    model = make_model()
    model.train()
    monkeypatch.setattr(LanguageModel, "hidden", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        score(model, ids_of(10))
    assert model.training


def test_scoring_uses_no_random_numbers_and_no_gradients():
    model, before = make_model(), torch.get_rng_state()
    score(model, ids_of(2050))
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_autocast_does_not_change_scores():
    model, ids = make_model(), ids_of(100)
    expected = nats_per_character(model, ids)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(nats_per_character(model, ids), expected)


def test_training_batch_shape_does_not_change_scores(make_trainer, make_config, tmp_path):
    result = set()
    for batch_size, sequence_length in ((1, 5), (4, 20), (64, 64)):
        config = make_config(batch_size=batch_size, sequence_length=sequence_length)
        result.add(make_trainer(config, tmp_path / str(batch_size)).validator.score())
    assert len(result) == 1
    assert result.pop().characters == 150


def test_score_is_the_mean_with_its_units():
    model, ids = make_model(), ids_of(2050)
    result = score(model, ids)
    assert result.characters == 2050
    assert result.nats == pytest.approx(float(nats_per_character(model, ids).astype(np.float64).mean()), rel=1e-12)
    assert result.bits_per_character == pytest.approx(result.nats / math.log(2))
    assert result.perplexity == pytest.approx(math.exp(result.nats))
    assert not result.is_pseudo_likelihood
    assert score(make_model(direction="bidirectional"), ids).is_pseudo_likelihood
    assert Score(1e6, 1).perplexity == math.exp(700)


def test_block_error_is_the_standard_error_of_the_means_of_blocks():
    nats = np.random.default_rng(1).random(2007).astype(np.float32)
    means = nats[:2000].astype(np.float64).reshape(20, 100).mean(1)
    assert block_error(nats) == pytest.approx(means.std(ddof=1) / math.sqrt(20))
    assert block_error(nats[:100]) == pytest.approx(abs(nats[:50].mean() - nats[50:100].mean()) / 2, rel=1e-5)
    assert block_error(nats[:99]) is None


def test_untrained_model_scores_ln_v():
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(hidden_size=8), 50)
    assert score(model, ids_of(500, 50)).nats == pytest.approx(math.log(50), abs=0.05)


@pytest.mark.parametrize("front_end", ["one_hot", "embedding", "convolution"])
def test_a_large_vocabulary(front_end):
    size = {} if front_end == "one_hot" else {"embedding_size": 6}
    model, ids = make_model(5000, front_end=front_end, **size), ids_of(300, 5000)
    np.testing.assert_allclose(nats_per_character(model, ids), naive(model, ids), rtol=1e-4, atol=1e-4)


def test_logits_per_chunk_are_bounded(monkeypatch):
    model, rows = make_model(), []
    monkeypatch.setattr(head_loss, "LOGITS", 100)
    logits = head_loss._logits
    monkeypatch.setattr(head_loss, "_logits", lambda *a: (rows.append(len(a[0])), logits(*a))[1])
    score(model, ids_of(300))
    assert max(rows) == 100 // 16, "symbols are padded to 16"
    assert sum(rows) == 300


def test_empty_text_is_refused():
    with pytest.raises(ValueError, match="no character"):
        score(make_model(), ids_of(0))


def test_scoring_does_not_change_the_ids():
    ids = ids_of(1500)
    ids.flags.writeable = False
    for direction in ("forward", "backward", "bidirectional"):
        score(make_model(direction=direction), ids)
    np.testing.assert_array_equal(ids, ids_of(1500))
