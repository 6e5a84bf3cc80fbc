"""Training on another device than the CPU, with torch's meta device in place of a GPU: its tensors have no values, so
whatever would wait for the device (``item``, ``tolist``, ``bool``, a copy back, boolean indexing) raises, as do most
operations that mix it with the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module

import numpy as np
import pytest
import torch
from test_checkpoint_manager_laws import CELL_OPTIONS

from charlstm.cells import CELLS
from charlstm.compiler.torch_printer import backward_code, forward_code
from charlstm.config import parse_config
from charlstm.evaluation import predict_tokens, score
from charlstm.generation.incremental import IncrementalModel
from charlstm.model import LanguageModel
from charlstm.optimization import make_optimizer
from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents
from charlstm.text.streams import Streams
from charlstm.training.loader import make_batch_source
from charlstm.training.step import TrainingStep

META = torch.device("meta")
V = 11


@pytest.fixture(autouse=True)
def _emulate_missing_features(monkeypatch):
    """The meta device has no autocast, and with ``out=`` it rejects zero-dimensional CPU tensors."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != "meta" and enabled(kind))
    for code in (make(cell) for cell in CELLS.values() for make in (forward_code, backward_code)):
        constants = code.function.__globals__["constant"]
        for value in constants:
            monkeypatch.setitem(constants, value, torch.tensor(value, device=META))


def documents() -> Documents:
    ids = np.arange(300) % (V - 1)
    starts = np.arange(0, 300, 15)
    return Documents(ids, starts, starts + 3 + np.arange(20) % 11, np.array([V - 1]))


def batches_of(config, text="running"):
    t = config.training
    shape = (V, t.batch_size, t.sequence_length)
    if text == "documents":
        streams = DocumentBatches(documents(), *shape, config.model.direction)
    else:
        reverse = config.model.direction == "backward"
        streams = Streams(np.arange(300, dtype=np.uint8) % V, *shape, reverse, config.model.washout)
    return make_batch_source(streams, META, 1 << 30)


def steps(model=None, text="running", count=2, **training):
    config = parse_config(
        {
            "corpus": {"source": "x"},
            "model": {"hidden_size": 5, "executor": "eager", **(model or {})},
            "training": {"batch_size": 4, "sequence_length": 6, "precision": "float32", **training},
        },
        "test",
    )
    network = LanguageModel(config.model, V).to(META)
    streams = batches_of(config, text)
    optimizer = make_optimizer(config.training, network)
    step = TrainingStep(config.training, network, optimizer, "float32")
    carried = network.initial_state(streams.batch_size)
    for _ in range(count):
        batch = streams.next_batch()
        assert {t.device.type for t in vars(batch).values() if isinstance(t, torch.Tensor)} == {"meta"}
        if batch.reset_state:
            carried = tuple(torch.zeros_like(part) for part in carried)
        loss_and_norm, carried = step.gradients(step.inputs([batch]), carried)
        step.set_learning_rate(1e-3)
        step.update(loss_and_norm[1])
        assert {t.device.type for t in (loss_and_norm, *carried)} == {"meta"}
    trainable = [p for p in network.parameters() if p.requires_grad and count]
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in trainable)
    for state in optimizer.state.values():
        assert {t.device.type for name, t in state.items() if name != "step" and isinstance(t, torch.Tensor)} <= {
            "meta"
        }
    return network


MODELS = [
    {"front_end": "one_hot"},
    {"front_end": "convolution", "highway": True},
    {"num_layers": 3, "residual": True, "dropout": 0.3},
    {"num_layers": 2, "dropout": 0.3, "dropout_kind": "elementwise"},
    {"direction": "backward"},
    {"direction": "bidirectional"},
    {"direction": "bidirectional", "front_end": "convolution", "num_layers": 2},
    {"executor": "reference"},
]


def test_cells_never_wait_and_stay_on_the_device():
    for options in CELL_OPTIONS.values():
        steps(options)


@pytest.mark.parametrize("text", ["running", "documents"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: " ".join(map(str, m.values())))
@pytest.mark.few(8)
def test_other_model_parts_never_wait(model, text):
    steps(model, text)


@pytest.fixture
def read_back(monkeypatch):
    """The tensors that an evaluation copies to the CPU; it gets zeros of the same shape."""
    read = []

    def cpu(t):
        read.append(t)
        return torch.zeros(t.shape, dtype=t.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    return read


@pytest.mark.parametrize("text", ["running", "documents"])
@pytest.mark.parametrize(
    "model",
    [{}, {"direction": "backward"}, {"direction": "bidirectional"}, {"front_end": "convolution"}, {"num_layers": 2}],
    ids=str,
)
@pytest.mark.few(4)
def test_evaluation_reads_many_results_at_once(model, text, read_back, monkeypatch):
    network = steps(model, text, count=0)
    content = documents() if text == "documents" else np.arange(64 * 30) % V
    for name, value in {"WARM_UP": 10, "CHUNK": 8, "CHUNKS_PER_COPY": 3}.items():
        monkeypatch.setattr(import_module("charlstm.evaluation.score"), name, value)
    score(network, content)
    assert {t.device.type for t in read_back} == {"meta"}
    if text == "running":  # 64 pieces of 30 characters: four passes
        assert [t.shape for t in read_back] == [(24, 64), (6, 64)]


def test_token_predictions_stay_on_the_device(read_back):
    predictions = predict_tokens(steps(count=0), np.arange(300) % V)
    assert predictions.correct.shape == (300,)
    assert [t.shape for t in read_back] == [(300, 1, 2)]


def test_incremental_model_stays_on_the_device():
    for model in ({}, {"front_end": "convolution"}, {"num_layers": 2, "residual": True}, {"cell": "gru"}):
        incremental = IncrementalModel(steps(model, count=0), 3)
        logits = incremental(torch.zeros(3, dtype=torch.int64, device=META))
        incremental.state = incremental.state
        assert (logits.shape, logits.device) == ((3, V), META)


@pytest.mark.parametrize("limit", [None, 0.1])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_optimizer_step_never_waits(optimizer, limit):
    steps(optimizer=optimizer, clip_grad_norm=limit, weight_decay=0.1)


def test_penalty_masking_and_smoothing_never_wait():
    steps({"cell": "rnn"}, vanishing_penalty=2.0)
    steps(label_smoothing=0.1, learning_rate_factors={"head": 2.0})
    for text in ("running", "documents"):
        steps({"direction": "bidirectional"}, text, input_masking=0.3)


def test_regularization_never_waits():
    rates = ("embedding_dropout", "input_dropout", "weight_drop", "state_dropout", "zoneout_h", "zoneout_c")
    model = {**dict.fromkeys(rates, 0.3), "num_layers": 2, "output": "sum", "executor": "reference"}
    for text, front_end in (("running", "embedding"), ("documents", "convolution")):
        steps({**model, "front_end": front_end}, text, count=1, activation_regularization=2.0)
