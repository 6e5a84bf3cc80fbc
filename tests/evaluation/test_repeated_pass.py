"""Scores whose forward passes are replayed from CUDA graphs, here emulated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from replaying import ReplayedGraph

from charlstm.config import ModelConfig
from charlstm.evaluation import nats_per_character, repeated_pass
from charlstm.evaluation.repeated_pass import RepeatedPass
from charlstm.evaluation.score import CHUNK
from charlstm.model import LanguageModel

V = 7
CPU = torch.device("cpu")
NETWORKS = {
    "lstm": {"cell": "lstm"},
    "two layers": {"cell": "gru", "num_layers": 2, "residual": True},
    "convolution": {"cell": "capped", "front_end": "convolution", "embedding_size": 4},
    "backward": {"cell": "peephole", "direction": "backward"},
    "both sides": {"cell": "lstm", "direction": "bidirectional"},
}


@pytest.fixture
def graphs(monkeypatch):
    """The captured graphs: the passes of a CPU are captured as those of a GPU."""
    made = []

    def make(*arguments, **options):
        made.append(ReplayedGraph(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(repeated_pass, "CudaGraph", make)
    monkeypatch.setattr(repeated_pass, "CAPTURING_DEVICES", ("cpu",))
    monkeypatch.setattr(repeated_pass, "_launched", set())
    return made


def network(**settings):
    torch.manual_seed(1)
    return LanguageModel(ModelConfig.model_validate({"hidden_size": 6, "executor": "eager", **settings}), V)


@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_scores_equal_launched_ones(graphs, monkeypatch, name):
    model = network(**NETWORKS[name])
    text = np.random.default_rng(1).integers(V, size=6 * CHUNK * 2 + 50)
    scores = {}
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(repeated_pass, "CAPTURING_DEVICES", devices)
        for factor in (2.0, 0.5):  # with other weights in between
            scores[devices, factor] = nats_per_character(model, text)
            with torch.no_grad():
                for p in model.parameters():
                    p.mul_(factor)
    for factor in (2.0, 0.5):
        np.testing.assert_array_equal(scores[("cpu",), factor], scores[(), factor])
    assert not np.array_equal(scores[(), 2.0], scores[(), 0.5])
    assert len(graphs) == 2 * (2 if name == "both sides" else 1)  # one for each direction and score


def test_few_passes_are_launched(graphs):
    model = network(cell="lstm")
    text = np.zeros((repeated_pass.MIN_CALLS - 1) * CHUNK + 9, np.int64)
    for _ in range(3):
        nats_per_character(model, text)
    assert not graphs


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("not permitted")])
def test_what_cannot_be_captured_is_launched(graphs, monkeypatch, error):
    attempts = []

    def failing(*_, **__):
        attempts.append(1)
        raise error

    monkeypatch.setattr(repeated_pass, "CudaGraph", failing)
    double = RepeatedPass(lambda x: (2 * x,), "double", CPU, 9)
    for n in range(4):
        (result,) = double(torch.full((3,), float(n)))
        assert result.tolist() == [2.0 * n] * 3
    assert len(attempts) == 1


def test_other_shapes_are_launched(graphs):
    calls = []

    def double(x):
        calls.append(len(x))
        return (2 * x,)

    repeated = RepeatedPass(double, "double", CPU, 9)
    for length in (3, 3, 3, 2, 3):
        assert torch.equal(repeated(torch.ones(length))[0], torch.full((length,), 2.0))
    assert calls == [3, 3, 2]  # launched, captured, and the short one
    assert len(graphs) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", NETWORKS)
def test_captured_scores_equal_launched_ones_on_a_gpu(monkeypatch, name):
    model = network(**{**NETWORKS[name], "hidden_size": 64, "executor": "auto"}).cuda()
    text = np.random.default_rng(1).integers(V, size=64 * 10 * CHUNK)
    captured = [nats_per_character(model, text) for _ in range(2)]
    made = []
    capture = RepeatedPass._capture
    monkeypatch.setattr(RepeatedPass, "_capture", lambda one, tensors: (capture(one, tensors), made.append(one._graph)))
    captured.append(nats_per_character(model, text))
    assert made
    assert None not in made
    monkeypatch.setattr(repeated_pass, "CAPTURING_DEVICES", ())
    launched = nats_per_character(model, text)
    for scores in captured:
        np.testing.assert_array_equal(scores, launched)
