"""A readout that starts as the unigram model of the training text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from charlstm.config import Config, ModelConfig
from charlstm.distributed import SINGLE_PROCESS
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.statistics import training_frequencies
from charlstm.training.initial_state import initial_state
from charlstm.training.state import TrainingState

CPU = torch.device("cpu")
LETTERS = np.array([*"eeeeeeeetttttaaaoz \n"])


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(np.random.default_rng(1).choice(LETTERS, 4000)) + "q" * 400, encoding="utf-8")
    return path


def make_state(path: Path, corpus: dict | None = None, **model) -> tuple[TrainingState, Corpus]:
    fields = {"source": str(path), "validation_fraction": 0.1, **(corpus or {})}
    training = {"device": "cpu", "precision": "float32", "batch_size": 8, "sequence_length": 32}
    model = {"cell": "rnn", "hidden_size": 32, **model}
    config = Config.model_validate({"corpus": fields, "model": model, "training": training})
    loaded = load_corpus(**config.corpus.model_dump())
    return initial_state(config, loaded, CPU, SINGLE_PROCESS), loaded


@pytest.mark.parametrize("fields", [{}, {"init_range": 0.08}, {"direction": "bidirectional"}], ids=str)
def test_readout_starts_with_the_frequencies_of_the_training_split(text, fields):
    state, corpus = make_state(text, unigram_bias=True, **fields)
    train = np.asarray(corpus.split("train"))
    counts = 1 + np.bincount(train, minlength=corpus.vocabulary.size)
    expected = torch.from_numpy(np.log(counts / counts.sum())).float()
    torch.testing.assert_close(state.model.head.bias.detach(), expected)
    assert counts[corpus.vocabulary.encode("q")[0]] == 1, "the validation split is not counted"
    plain, _ = make_state(text, unigram_bias=False, **fields)
    others = [name for name, value in plain.model.state_dict().items() if name != "head.bias"]
    assert all(torch.equal(plain.model.state_dict()[name], state.model.state_dict()[name]) for name in others)


@pytest.mark.parametrize(
    ("direction", "fields", "shares"),
    [
        ("forward", {}, {"a": 1 / 5, "=": 1 / 5, "\n": 1 / 5}),
        ("backward", {}, {"a": 1 / 5, "=": 1 / 5, "\n": 1 / 5}),
        ("bidirectional", {}, {"a": 1 / 4, "=": 1 / 4, "\n": 0}),
        ("forward", {"score_after": "="}, {"a": 0, "=": 0, "\n": 0}),
        ("forward", {"score_after": "=", "score_end": True}, {"a": 0, "=": 0, "\n": 1 / 2}),
    ],
    ids=str,
)
def test_of_documents_what_is_scored_counts(text, direction, fields, shares):
    text.write_text("\n".join(f"ab={n % 10}" for n in range(400)), encoding="utf-8")
    _, corpus = make_state(text, {"documents": "newline", **fields}, direction=direction)
    frequencies = training_frequencies(corpus, direction)
    for symbol, share in shares.items():
        (number,) = corpus.vocabulary.encode(symbol)
        assert frequencies[number] == pytest.approx(share, abs=0.01), symbol


@pytest.mark.parametrize("lengths", [[60_000] * 5, [40_000, 1, 1, 160_000]], ids=str)
def test_long_documents_are_sampled_all_over(text, lengths):
    text.write_text("\n".join(chr(97 + n) * length for n, length in enumerate(lengths)), encoding="utf-8")
    fields = {"documents": "newline", "shuffle_documents": False, "validation_fraction": 0}
    _, corpus = make_state(text, fields)
    frequencies = training_frequencies(corpus, "forward")
    for n, length in enumerate(lengths):
        (number,) = corpus.vocabulary.encode(chr(97 + n))
        assert frequencies[number] == pytest.approx(length / sum(lengths), abs=0.02)


def test_readout_of_the_first_step_has_a_small_mean_error(text):
    """With biases of zero, the mean over time of the error at the readout is that of the frequencies."""

    def mean_error(unigram_bias: bool) -> float:
        state, _ = make_state(text, unigram_bias=unigram_bias)
        batch = state.streams.next_batch()
        logits = state.model(batch.previous)[0]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
        return float(state.model.head.bias.grad.norm())

    assert mean_error(True) < 0.5 * mean_error(False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"ablate": "forget_gate"}, True),
        ({"unigram_bias": False}, False),
        ({"cell": "gru"}, False),
        ({"cell": "gru", "unigram_bias": True}, True),
    ],
    ids=str,
)
def test_default(fields, expected):
    assert ModelConfig(**fields).unigram_bias is expected
