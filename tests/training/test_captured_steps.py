"""Whole training steps as CUDA graphs: emulated on the CPU, a run with them equals one without, bit for bit."""

from __future__ import annotations

import sys

import pytest
import replaying
import torch
from replaying import ReplayedGraph
from test_checkpoint_manager import assert_same
from test_checkpoint_manager_laws import CELL_OPTIONS, OPTIMIZERS
from torch.nn import functional as F

from charlstm.distributed import SINGLE_PROCESS
from charlstm.executors.triton import choice
from charlstm.optimizers import base
from charlstm.text.corpus import load_corpus
from charlstm.training import captured_steps
from charlstm.training.captured_steps import WARM_UP, why_not_captured
from charlstm.training.events import Notice, Progress
from charlstm.training.step import TrainingStep
from charlstm.training.validation import Validator

CPU = torch.device("cpu")
STEPS = 30
"""Almost three epochs of 12 steps, of which the first and the last batch are not like the others."""


@pytest.fixture
def capturing(monkeypatch):
    """The CPU in the place of a GPU: optimizers that can be captured, and graphs that are emulated. Returns the graphs
    that are made."""
    graphs = []

    class Graph(ReplayedGraph):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            graphs.append(self)
            self.replays = 0

        def __call__(self):
            super().__call__()
            self.replays += 1

    monkeypatch.setattr(base, "CAPTURING_DEVICES", ("cpu",))
    monkeypatch.setattr(sys.modules["torch.optim.rmsprop"], "_get_capturable_supported_devices", lambda *_: ["cpu"])
    monkeypatch.setattr(captured_steps, "CudaGraph", Graph)
    monkeypatch.setattr(F, "one_hot", one_hot)
    return graphs


def one_hot(ids, classes):
    """Without the check of the ids that torch makes on the CPU only."""
    return torch.zeros(*ids.shape, classes, dtype=torch.int64).scatter_(-1, ids[..., None], 1)


@pytest.fixture
def train(make_config, make_trainer, short, tmp_path, monkeypatch):
    """Trains as on an asynchronous device, with captured steps or without, stopped and resumed at each of ``stops``."""

    def train(name, model, training, is_captured, stops=(), corpus=None, text=short):
        reason = None if is_captured else "not in this test"
        monkeypatch.setattr(captured_steps, "why_not_captured", lambda *_: reason)
        settings = {"batch_size": 3, "sequence_length": 8, "budget": {"steps": STEPS}, "evaluate_every": 11, **training}
        config = make_config({"hidden_size": 5, "executor": "eager", **model}, corpus, **settings)
        events = []
        for stop in (*stops, None):
            exists = (tmp_path / name).exists()
            trainer = make_trainer(config, tmp_path / name, text)
            trainer.updates.metrics.is_asynchronous = trainer.step.scales_always = True
            monkeypatch.setattr(trainer.updates.metrics, "set_pace", lambda *_: None)
            if exists:
                assert trainer.resume() == []
            for event in trainer.run():
                events.append(event)
                if isinstance(event, Progress) and event.step == stop:
                    trainer.request_stop()
            torch.rand(7)
        return events

    return train


def check(train, tmp_path, capturing, model=None, training=None, **options):
    for name, is_captured in (("launched", False), ("captured", True)):
        events = train(name, model or {}, training or {}, is_captured, **options)
        assert not [event for event in events if isinstance(event, Notice) and "captured" in event.text]
    assert_same(tmp_path / "launched", tmp_path / "captured")
    assert sum(graph.replays for graph in capturing) >= STEPS / 2


@pytest.mark.parametrize("cell", CELL_OPTIONS)
@pytest.mark.few(5)
def test_captured_steps_of_every_cell_equal_launched_ones(train, tmp_path, capturing, cell):
    check(train, tmp_path, capturing, CELL_OPTIONS[cell])


MODELS = {
    "elementwise dropout": {"num_layers": 2, "dropout": 0.4, "dropout_kind": "elementwise"},
    "locked dropout": {"num_layers": 2, "dropout": 0.4},
    "all dropouts": {
        "front_end": "embedding",
        "embedding_dropout": 0.3,
        "input_dropout": 0.3,
        "output_dropout": 0.3,
        "weight_drop": 0.3,
        "state_dropout": 0.3,
    },
    "zoneout": {"zoneout_h": 0.2, "zoneout_c": 0.3},
    "both directions": {"direction": "bidirectional"},
    "convolution": {"front_end": "convolution", "highway": True},
    "deep": {"num_layers": 3, "residual": True},
    "sum": {"num_layers": 2, "output": "sum", "direction": "backward"},
    "tied": {"front_end": "embedding", "tie_weights": True, "hidden_size": 6},
    "reference": {"executor": "reference"},
}
TRAININGS = {
    **OPTIMIZERS,
    "no clipping": {"clip_grad_norm": None},
    "accumulation": {"gradient_accumulation": 3, "budget": {"steps": 24}},
    "bfloat16": {"precision": "bfloat16"},
    "smoothing": {"label_smoothing": 0.1},
    "activations": {"activation_regularization": 2.0, "temporal_activation_regularization": 1.0},
    "resets": {"reset_state": 0.2},
    "masks": {"input_masking": 0.2},
    "factors": {"learning_rate_factors": {"head": 0.5, "recurrent": 2.0}},
    "average": {"averaging_decay": 0.9},
    "random lengths": {"sequence_length_std": 1, "budget": {"steps": 60}},
}


@pytest.mark.parametrize("model", MODELS)
def test_captured_steps_of_a_model_equal_launched_ones(train, tmp_path, capturing, model):
    check(train, tmp_path, capturing, MODELS[model])


@pytest.mark.parametrize("training", TRAININGS)
def test_captured_steps_of_a_training_equal_launched_ones(train, tmp_path, capturing, training, monkeypatch):
    if "rmsprop" in training:  # on the CPU torch counts its steps with a constant tensor
        monkeypatch.setattr(replaying, "SYNCHRONIZING", ("_local_scalar_dense",))
    check(train, tmp_path, capturing, {"dropout": 0.3}, TRAININGS[training])


def test_captured_steps_with_a_penalty_equal_launched_ones(train, tmp_path, capturing):
    check(train, tmp_path, capturing, {"cell": "rnn", "weight_drop": 0.2}, {"vanishing_penalty": 0.5})


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_captured_steps_of_documents_equal_launched_ones(train, tmp_path, capturing, corpus_file, direction):
    text = load_corpus(str(corpus_file), documents="newline")
    source = {"source": str(corpus_file), "documents": "newline"}
    training = {"batch_size": 4, "sequence_length": 6, "budget": {"steps": 60}}
    check(train, tmp_path, capturing, {"direction": direction}, training, corpus=source, text=text)
    assert len(capturing) > 1


def test_stopped_and_resumed_run_equals_uninterrupted_one(train, tmp_path, capturing):
    """Before, at and after the first capture, around an evaluation, at the end of an epoch."""
    model, training = {"dropout": 0.3, "num_layers": 2}, {"reset_state": 0.1}
    train("launched", model, training, False)
    train("stopped", model, training, True, stops=(2, 4, 5, 6, 10, 11, 12, 13, 23, 24, 25))
    assert_same(tmp_path / "launched", tmp_path / "stopped")
    assert capturing


def test_batches_of_one_step_have_few_layouts(train, tmp_path, capturing):
    """Their weights in its loss differ from step to step."""
    path = tmp_path / "lines.txt"
    path.write_text("".join("abcde" * 5 + "f" * (7 * n % 25) + "\n" for n in range(120)))
    source = {"source": str(path), "documents": "newline"}
    training = {"batch_size": 4, "sequence_length": 6, "gradient_accumulation": 2, "budget": {"steps": 120}}
    check(train, tmp_path, capturing, {}, training, corpus=source, text=load_corpus(str(path), documents="newline"))
    assert len(capturing) == 6  # more of them occur as often as a capture needs


def test_each_layout_is_captured_once_and_freed_at_the_end(train, capturing):
    """The first and the last batch of an epoch occur twice here, too seldom."""
    train("run", {}, {}, True)
    (graph,) = capturing
    assert graph.replays == STEPS - 5 - WARM_UP  # three first and two last batches


FAILURE = (
    "training steps are not captured in CUDA graphs, so they may take longer: CUDA out of memory. Tried to allocate 1 "
    "GiB."
)


def fail(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nMore words")


def test_step_that_cannot_be_captured_is_launched(train, tmp_path, monkeypatch, capturing):
    train("launched", {"dropout": 0.3}, {}, False)
    monkeypatch.setattr(captured_steps, "CudaGraph", fail)
    events = train("failed", {"dropout": 0.3}, {}, True)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices == [FAILURE]
    assert_same(tmp_path / "launched", tmp_path / "failed")
    assert not capturing


def test_graphs_are_freed_if_a_launched_step_lacks_their_memory(train, tmp_path, monkeypatch, capturing):
    """The last step of the first epoch, after it has drawn random numbers."""
    train("launched", {"dropout": 0.3}, {}, False)
    gradients, graphs = TrainingStep.gradients, []

    def gradients_or_failure(step, *arguments):
        result = gradients(step, *arguments)
        if capturing and not graphs:
            graphs.append(len(capturing))
            fail()
        return result

    monkeypatch.setattr(TrainingStep, "gradients", gradients_or_failure)
    ended = train("failed", {"dropout": 0.3}, {}, True)
    assert [event.text for event in ended if isinstance(event, Notice)] == [FAILURE]
    assert_same(tmp_path / "launched", tmp_path / "failed")
    assert graphs == [1] == [len(capturing)]


def test_evaluation_that_lacks_memory_is_repeated_without_graphs(train, tmp_path, monkeypatch, capturing):
    """The one after the first capture fails, after it has drawn random numbers."""
    train("launched", {"dropout": 0.3}, {}, False)
    score, failed = Validator.score, []

    def score_or_fail(validator):
        result = score(validator)
        if capturing and not failed:
            failed.append(torch.rand(3))
            fail()
        return result

    monkeypatch.setattr(Validator, "score", score_or_fail)
    events = train("failed", {"dropout": 0.3}, {}, True)
    assert [event.text for event in events if isinstance(event, Notice)] == [FAILURE]
    assert_same(tmp_path / "launched", tmp_path / "failed")
    assert len(capturing) == len(failed) == 1


def test_cause_of_a_failed_capture_is_told(train, monkeypatch, capturing):
    """The end of a capture that an operation has made invalid fails, too."""

    def invalid(*_, **__):
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(captured_steps, "CudaGraph", invalid)
    (notice,) = [event.text for event in train("run", {}, {}, True) if isinstance(event, Notice)]
    assert notice.endswith("take longer: operation not permitted when stream is capturing")


def test_number_of_layouts_is_limited(train, monkeypatch, capturing):
    monkeypatch.setattr(captured_steps, "MAX_CAPTURED", 1)
    train("run", {}, {"sequence_length_std": 1, "budget": {"steps": 60}}, True)
    assert len(capturing) == 1


@pytest.mark.parametrize("model", [{}, {"executor": "reference", "weight_drop": 0.2}], ids=["eager", "reference"])
def test_no_autograd_node_of_a_parameter_outlives_a_step(train, monkeypatch, model):
    """A node of a launched step would add its gradient on the stream of that step, outside of a later capture."""
    loss, found = TrainingStep.loss, []

    def node(p):
        return p.view_as(p).grad_fn.next_functions[0][0]

    def marked_loss(step, *arguments):
        found.extend("used" in node(p).metadata for p in step._model.parameters())
        result = loss(step, *arguments)
        for p in step._model.parameters():
            node(p).metadata["used"] = True
        return result

    monkeypatch.setattr(TrainingStep, "loss", marked_loss)
    train("run", model, {"budget": {"steps": 4}}, False)
    assert found
    assert not any(found)


def test_only_a_single_process_on_an_nvidia_gpu_captures():
    assert "NVIDIA" in why_not_captured(CPU, SINGLE_PROCESS)
    assert why_not_captured(torch.device("cuda"), SINGLE_PROCESS) is None


def test_resumed_run_takes_the_loops_of_the_stopped_one(make_trainer, make_config, tmp_path, monkeypatch):
    """On the same device: one kernel and a CUDA graph round differently, and a measurement may change its mind."""
    monkeypatch.setattr(choice, "_kernels", {})
    monkeypatch.setattr(choice, "_restored", set())
    loops = {"lstm, 32 x 256, symbols, bfloat16, tf32, NVIDIA H100": ["forward"]}
    execution = make_trainer(make_config(), tmp_path / "run").execution
    for device, expected in (
        ("NVIDIA H100", {}),
        ("cpu", {"one_kernel_loops": dict.fromkeys(loops, ("forward",))}),
    ):
        execution.restore({"precision": "float32", "device": device, "one_kernel_loops": loops})
        assert choice.loop_facts() == expected


def test_records_name_the_loops_that_were_chosen(make_trainer, make_config, monkeypatch):
    """The start of the run comes before they are known, unless an earlier run of this process had the same."""
    for name in ("_kernels", "_unmeasured", "_refused"):
        monkeypatch.setattr(choice, name, {})
    trainer = make_trainer(make_config(budget={"steps": 2}))
    for _ in trainer.run():
        choice._kernels["lstm, 32 x 256"], choice._refused["gru, 32 x 256"] = ("forward",), "its results differ"
    start, *_, end = trainer.directory.metrics()
    assert "one_kernel_loops" not in start
    assert end["one_kernel_loops"] == {"lstm, 32 x 256": ["forward"]}
    assert end["refused_one_kernel_loops"] == {"gru, 32 x 256": "its results differ"}
