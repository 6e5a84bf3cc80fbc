"""A resumed run equals an uninterrupted one for any pair of settings and any stops; and every entry of a checkpoint is
needed for it."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from test_checkpoint_manager import assert_same, run_content

from charlstm.cells import CELLS
from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model.language_model import cell_of
from charlstm.training import divergence, updates
from charlstm.training.events import Ended, Evaluated, Notice, Progress
from charlstm.training.state import NEWER_COUNTERS, TrainingState

EPOCH = 12
STEPS = 2 * EPOCH
EVALUATE_EVERY = 6

ABLATIONS = [cell.options["ablate"] for cell in CELLS.values() if cell.options.get("ablate")]
CELL_OPTIONS = {
    **{name: {"cell": name} for name in ("rnn", "lstm", "gru", "peephole", "coupled", "capped", "leaky")},
    "irnn": {"cell": "rnn", "nonlinearity": "relu"},
    "gru reset before": {"cell": "gru", "reset_after": False, "forget_bias": "chrono"},
    "leaky fixed": {"cell": "leaky", "learn_leak": False},
    "esn": {"cell": "esn", "front_end": "one_hot", "washout": 5},
    **{f"lstm no {part}": {"cell": "lstm", "ablate": part} for part in ABLATIONS},
}
OPTIMIZERS = {
    "adamw": {"optimizer": "adamw", "weight_decay": 1e-2},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 1e-3},
    "sgd without momentum": {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.0},
    "rmsprop": {"optimizer": "rmsprop"},
    "rmsprop without momentum": {"optimizer": "rmsprop", "momentum": 0.0, "alpha": 0.95},
}
SCHEDULES = {
    "constant": {"schedule": "constant", "clip_grad_norm": None},
    "cosine": {"schedule": "cosine"},
    "step": {"schedule": "step", "step_size": 0.5, "hold_epochs": 0.75},
    "plateau": {"schedule": "plateau", "patience": 0},
}
FACTORS = {
    "cell": list(CELL_OPTIONS),
    "executor": ["reference", "eager", "vendor", "cpp"],
    "dropout": ["none", "elementwise", "locked"],
    "optimizer": list(OPTIMIZERS),
    "schedule": list(SCHEDULES),
    "direction": ["forward", "backward", "bidirectional"],
    "precision": ["float32", "bfloat16"],
}


def is_supported(case: dict[str, str]) -> bool:
    return case.get("executor") != "vendor" or case.get("cell") in (None, "rnn", "irnn", "lstm", "gru")


def pairwise_cases(seed: int) -> list[dict[str, str]]:
    """Cases that contain every supported pair of values of two factors at least once."""
    rng = random.Random(seed)
    missing = {
        pair
        for a, b in itertools.combinations(FACTORS, 2)
        for pair in itertools.product([(a, v) for v in FACTORS[a]], [(b, v) for v in FACTORS[b]])
        if is_supported(dict(pair))
    }
    cases = []
    while missing:
        candidates = []
        for first in rng.choices(sorted(missing), k=40):
            case = {name: rng.choice(values) for name, values in FACTORS.items()} | dict(first)
            if is_supported(case):
                pairs = set(itertools.combinations([(name, case[name]) for name in FACTORS], 2))
                candidates.append((len(pairs & missing), sorted(case.items()), pairs))
        if candidates:
            _, best, pairs = max(candidates, key=lambda t: t[:2])
            missing -= pairs
            cases.append(dict(best))
    return cases


CASES = pairwise_cases(1)


def test_cases_cover_every_cell_and_executor():
    names = {cell_of(ModelConfig(**options)).name for options in CELL_OPTIONS.values()}
    assert names == {cell.name for cell in CELLS.values()}
    pairs = {(case["cell"], case["executor"]) for case in CASES}
    assert len(pairs) == 3 * len(CELLS) + 4  # vendor runs four cells


@pytest.fixture
def trained(make_config, make_trainer, short, tmp_path):
    """Trains a run to its end, stopped and resumed at each of ``stops``; returns the events."""

    def train(name, model, training, stops=(), end=True, epoch=EPOCH):
        path = tmp_path / name
        events = []
        for stop in (*stops, None) if end else stops:
            config = make_config(
                {"hidden_size": 5, **model},
                **{
                    "batch_size": 3,
                    "sequence_length": 8,
                    "budget": {"steps": STEPS},
                    "evaluate_every": EVALUATE_EVERY,
                    **training,
                },
            )
            exists = path.exists()
            trainer = make_trainer(config, path, short)
            assert trainer.streams.steps_per_epoch == epoch
            if exists:
                assert trainer.resume() == []
            if stop:
                stop_at(trainer, *stop)
            events += list(trainer.run())
            torch.rand(7)  # the RNG state may change between two trainers
            if stop:
                assert trainer.counters.step == stop[1]
        return events

    return train


def stop_at(trainer, where: str, step: int) -> None:
    """Request a stop during this step, or when the evaluation after it starts to score or to sample."""

    def request() -> None:
        if trainer.counters.step == (step - 1 if where == "step" else step):
            trainer.request_stop()

    call_before(trainer, where, request)


def call_before(trainer, where: str, action: Callable[[], None]) -> None:
    """Call ``action`` whenever the trainer starts a step, a score or a sample."""
    validator = trainer.validator
    owner, name = {"step": (trainer, "_step"), "scoring": (validator, "score"), "sampling": (validator, "sample")}[
        where
    ]
    method = getattr(owner, name)

    def action_and_method(*arguments):
        action()
        return method(*arguments)

    setattr(owner, name, action_and_method)


def stops_for(rng: random.Random, epoch: int, every: int) -> list[tuple[str, int]]:
    """Three stops in order: near the end of an epoch, during an evaluation, and anywhere."""
    evaluation = (rng.choice(["scoring", "sampling"]), every * rng.randint(1, 2 * epoch // every))
    stops = {epoch + rng.randint(-1, 1): "step", rng.randint(1, 2 * epoch - 1): "step"}
    stops[evaluation[1]] = evaluation[0]
    return [(where, step) for step, where in sorted(stops.items())]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: " ".join(CASES[n].values()).replace(" ", "-"))
@pytest.mark.few(20)
def test_resumed_run_equals_uninterrupted_run(trained, tmp_path, monkeypatch, number):
    case, rng = CASES[number], random.Random(number)
    epoch, every = EPOCH // 2, 4
    model = {
        "executor": case["executor"],
        "direction": case["direction"],
        "num_layers": 2,
        "front_end": rng.choice(["one_hot", "embedding", "convolution"]),
        "residual": rng.choice([False, case["cell"] != "irnn"]),  # its residual sums explode
        **CELL_OPTIONS[case["cell"]],
    }
    if case["dropout"] != "none":
        model |= {"dropout": 0.3, "dropout_kind": case["dropout"]}
    masking = {"input_masking": rng.choice([0.0, 0.2])}
    training = {
        "precision": case["precision"],
        "batch_size": 6,
        "budget": {"steps": 2 * epoch},
        "evaluate_every": every,
        "sample_length": 5,
        **masking,
        **OPTIMIZERS[case["optimizer"]],
        **SCHEDULES[case["schedule"]],
    }
    if case["cell"] == "irnn":
        training |= {"clip_grad_norm": 1.0, "learning_rate": 1e-4}
    monkeypatch.setattr(divergence, "MIN_HIGH_LOSS", 1e9)  # the state of an IRNN grows without bound
    uninterrupted = trained("uninterrupted", model, training, epoch=epoch)
    assert uninterrupted[-1].stop_reason == "budget", uninterrupted[-1]
    stopped = trained("stopped", model, training, stops_for(rng, epoch, every), epoch=epoch)
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")
    scores = [[(e.step, e.nats) for e in events if isinstance(e, Evaluated)] for events in (uninterrupted, stopped)]
    assert scores[0] == scores[1]


STOPS = [("step", step) for step in (1, 5, 6, 7, 11, 12, 13, 17, 18, 19, 23, 24)]
STOPS += [(where, step) for step in (6, 12, 24) for where in ("scoring", "sampling")]


def test_run_stopped_many_times_equals_uninterrupted_run(trained, tmp_path):
    """An evaluation that a stop interrupts is repeated, also if the resumed run is stopped again."""
    model, training = {"dropout": 0.2}, {"schedule": "plateau", "patience": 0}
    trained("uninterrupted", model, training)
    trained("stopped", model, training, sorted(STOPS, key=lambda stop: (stop[1], STOPS.index(stop))))
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_early_stopping_survives_resume_until_patience_changes(trained):
    training = {"early_stopping": 1, "optimizer": "sgd", "learning_rate": 1e-30}
    assert (trained("run", {}, training)[-1].stop_reason, trained("run", {}, training)[-1].step) == (
        "early_stopping",
        12,
    )
    resumed = trained("run", {}, training | {"early_stopping": None})
    assert (resumed[-1].stop_reason, resumed[-1].step) == ("budget", STEPS)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_longer_budget_rescales_the_schedule(trained, schedule):
    """After the resume, the learning rate is that of a run with this budget from the start."""
    long = {"schedule": schedule}
    rates = {e.step: e.learning_rate for e in trained("uninterrupted", {}, long) if isinstance(e, Progress)}
    short = trained("short", {}, long | {"budget": {"steps": 10}})
    before = [e.learning_rate for e in short if isinstance(e, Progress)]
    after = {e.step: e.learning_rate for e in trained("short", {}, long) if isinstance(e, Progress)}
    assert after == {step: rate for step, rate in rates.items() if step > 10}
    if schedule == "cosine":
        assert before[-1] < 0.2 * rates[10]


def test_requested_save_can_be_resumed(trained, make_config, make_trainer, short, tmp_path):
    """The run is killed after a requested save, a step later or during an evaluation, and resumes from it."""
    trained("uninterrupted", {"dropout": 0.2}, {})
    for where, step, saved in (("step", 7, 8), ("scoring", 12, 12), ("sampling", 18, 18)):
        path = tmp_path / where
        config = make_config(
            {"hidden_size": 5, "dropout": 0.2},
            batch_size=3,
            sequence_length=8,
            budget={"steps": STEPS},
            evaluate_every=EVALUATE_EVERY,
        )
        trainer = make_trainer(config, path, short)
        requests: list[bool] = []

        def request(trainer=trainer, step=step, requests=requests):
            if trainer.counters.step == step and not requests:
                requests.append(True)
                trainer.request_save()

        call_before(trainer, where, request)
        for event in trainer.run():
            if isinstance(event, Notice):
                assert event.text == f"saved at step {saved}, as requested"
                break
        shutil.copytree(path, tmp_path / "killed")
        header = load_checkpoint(tmp_path / "killed" / "checkpoints" / "last.safetensors")[1]
        assert header["counters"]["step"] == saved
        trained("killed", {"dropout": 0.2}, {})
        assert_same(tmp_path / "uninterrupted", tmp_path / "killed")
        shutil.rmtree(tmp_path / "killed")


# every entry of a checkpoint is needed


class Ticking(SimpleNamespace):
    """A clock that advances by a second per reading, so that recorded times can be compared too."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


def run_content_with_times(path):
    """All that a run has saved, with times."""
    header = load_checkpoint(path / "checkpoints" / "last.safetensors")[1]
    return run_content(path), header, (path / "metrics.jsonl").read_text()


def is_same(a, b) -> bool:
    (tensors, *rest), *more = a[0], *a[1:]
    (others, *others_rest), *others_more = b[0], *b[1:]
    return (
        (rest, more) == (others_rest, others_more)
        and tensors.keys() == others.keys()
        and all(torch.equal(t, others[name]) for name, t in tensors.items())
    )


NEEDED = {
    "adamw": (
        {"dropout": 0.2, "unigram_bias": False},
        {"schedule": "plateau", "patience": 1, "learning_rate": 1.0, "warmup_steps": 0, "evaluate_every": 5},
    ),
    "rmsprop": ({"front_end": "convolution"}, {"optimizer": "rmsprop"}),  # two steps per record, stopped between them
    "sgd": ({}, {"optimizer": "sgd", "learning_rate": 0.5}),
}
# Before the first evaluation, which sets them.
UNTOUCHED = {"counters.best_step", "counters.evaluations_without_improvement", "schedule.without_improvement"}


@pytest.mark.parametrize("case", NEEDED)
@pytest.mark.few(1)
def test_every_entry_of_a_checkpoint_is_needed(trained, tmp_path, monkeypatch, case):
    """Without an entry the checkpoint is refused; with another value it is refused, or the run differs."""
    monkeypatch.setattr(updates, "time", Ticking())
    model, training = NEEDED[case]
    training = {"budget": {"steps": 20}, "evaluate_every": 40} | training
    trained("uninterrupted", model, training)
    expected = run_content_with_times(tmp_path / "uninterrupted")
    trained("stopped", model, training, [("scoring", 15) if case == "adamw" else ("step", 17)], end=False)
    load, entries = TrainingState.load, []

    def is_unchanged(change) -> bool | None:
        """Whether the resumed run equals the uninterrupted one; None if the checkpoint is refused."""

        def loading(self, tensors, numbers):
            parts = {part: dict(numbers[part]) for part in ("counters", "schedule", "streams")}
            change(tensors := dict(tensors), parts)
            load(self, tensors, {**numbers, **parts})

        shutil.rmtree(tmp_path / "resumed", ignore_errors=True)
        shutil.copytree(tmp_path / "stopped", tmp_path / "resumed")
        with monkeypatch.context() as patch:
            patch.setattr(TrainingState, "load", loading)
            try:
                trained("resumed", model, training)
            except UserError:
                return None
        return is_same(expected, run_content_with_times(tmp_path / "resumed"))

    def list_entries(tensors, parts):
        entries.extend(("tensors", name, t) for name, t in tensors.items())
        entries.extend((part, name, value) for part, numbers in parts.items() for name, value in numbers.items())

    assert is_unchanged(list_entries)
    unused = set()
    for part, name, value in entries:

        def delete(tensors, parts, part=part, name=name):
            del {"tensors": tensors, **parts}[part][name]

        def replace(tensors, parts, part=part, name=name, value=value):
            {"tensors": tensors, **parts}[part][name] = other_value(name, value)

        assert is_unchanged(delete) is (True if name in NEWER_COUNTERS else None), f"without {part} {name}"
        if is_unchanged(replace):
            unused.add(f"{part}.{name}")
    assert unused == {"counters.high_loss_steps"} | (set() if case == "adamw" else UNTOUCHED)


def other_value(name, value):
    if isinstance(value, torch.Tensor):
        return torch.Generator().manual_seed(99).get_state() if name.startswith("random") else torch.zeros_like(value)
    return not value if isinstance(value, bool) else 0 if value else 1


# NaN is never saved


def test_stop_and_save_requests_never_save_nan(trained, make_config, make_trainer, short, tmp_path):
    for request_name in ("request_stop", "request_save"):
        config = make_config({"hidden_size": 5}, batch_size=3, sequence_length=8, budget={"steps": STEPS})
        trainer = make_trainer(config, tmp_path / request_name, short)
        events = []
        for event in trainer.run():
            events.append(event)
            if isinstance(event, Progress) and event.step == 2:
                with torch.no_grad():
                    trainer.model.head.bias[0] = torch.nan
                getattr(trainer, request_name)()
        assert isinstance(events[-1], Ended)
        assert events[-1].stop_reason == "diverged"
        assert not [e for e in events if isinstance(e, Notice)]
        assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 0
