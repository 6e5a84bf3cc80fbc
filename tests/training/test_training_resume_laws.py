"""Stopped and resumed equals never stopped: for any two settings together, wherever the stops fall; and everything
that a checkpoint holds is needed for it."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from test_training_resume import assert_same, remains

from charlstm.cells import CELLS
from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.model.language_model import cell_of
from charlstm.text.corpus import load_corpus
from charlstm.training import deferred_metrics
from charlstm.training import trainer as trainer_module
from charlstm.training.events import Ended, Evaluated, Notice, Progress
from charlstm.training.state import TrainingState

EPOCH = 12
STEPS = 2 * EPOCH
EVALUATE_EVERY = 6

ABLATIONS = [cell.options["ablate"] for cell in CELLS.values() if cell.options.get("ablate")]
CELL_OPTIONS = {
    **{name: {"cell": name} for name in ("rnn", "lstm", "gru", "peephole", "coupled", "leaky")},
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
    "rmsprop without momentum": {"optimizer": "rmsprop", "momentum": 0.0},
}
SCHEDULES = {
    "constant": {"schedule": "constant", "clip_grad_norm": None},
    "cosine": {"schedule": "cosine"},
    "step": {"schedule": "step", "step_size": 0.5},
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


def allowed(case: dict[str, str]) -> bool:
    return case.get("executor") != "vendor" or case.get("cell") in (None, "rnn", "irnn", "lstm", "gru")


def covering(seed: int) -> list[dict[str, str]]:
    """Cases in which any two values of two factors that go together meet at least once."""
    chance = random.Random(seed)
    missing = {
        pair
        for a, b in itertools.combinations(FACTORS, 2)
        for pair in itertools.product([(a, v) for v in FACTORS[a]], [(b, v) for v in FACTORS[b]])
        if allowed(dict(pair))
    }
    cases = []
    while missing:
        tried = []
        for first in chance.choices(sorted(missing), k=40):
            case = {name: chance.choice(values) for name, values in FACTORS.items()} | dict(first)
            if allowed(case):
                pairs = set(itertools.combinations([(name, case[name]) for name in FACTORS], 2))
                tried.append((len(pairs & missing), sorted(case.items()), pairs))
        if tried:
            _, best, pairs = max(tried, key=lambda t: t[:2])
            missing -= pairs
            cases.append(dict(best))
    return cases


CASES = covering(1)


def test_every_cell_and_executor_is_among_the_cases():
    found = {cell_of(ModelConfig(**options)).name for options in CELL_OPTIONS.values()}
    assert found == {cell.name for cell in CELLS.values()}
    met = {(case["cell"], case["executor"]) for case in CASES}
    assert len(met) == 3 * len(CELLS) + 4  # vendor runs four cells


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "short.txt"
    chance = random.Random(2)
    path.write_text("".join(chance.choice("abcde \n") for _ in range(310)))
    return load_corpus(str(path))


@pytest.fixture
def trained(make_config, make_trainer, short, tmp_path):
    """Trains a run to its end, stopped at each of the places on the way; what it told is returned."""

    def train(name, model, training, stops=(), end=True, epoch=EPOCH):
        path = tmp_path / name
        events = []
        for place in (*stops, None) if end else stops:
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
            begun = path.exists()
            trainer = make_trainer(config, path, short)
            assert trainer.streams.steps_per_epoch == epoch
            if begun:
                assert trainer.resume() == []
            if place:
                stop_at(trainer, *place)
            events += list(trainer.run())
            torch.rand(7)  # whatever else happens to the random state between two legs
            if place:
                assert trainer.counters.step == place[1]
        return events

    return train


def stop_at(trainer, where: str, step: int) -> None:
    """Ask for a stop during this step, or as the evaluation after it begins to score or to write."""

    def ask() -> None:
        if trainer.counters.step == (step - 1 if where == "step" else step):
            trainer.request_stop()

    before(trainer, where, ask)


def before(trainer, where: str, ask: Callable[[], None]) -> None:
    """Have something done whenever the trainer begins a step, or to score or to write in an evaluation."""
    held_out = trainer._held_out
    owner, name = {"step": (trainer, "_step"), "scoring": (held_out, "score"), "sampling": (held_out, "sample")}[where]
    method = getattr(owner, name)

    def after_asking(*arguments):
        ask()
        return method(*arguments)

    setattr(owner, name, after_asking)


def stops_for(chance: random.Random, epoch: int, every: int) -> list[tuple[str, int]]:
    """Three, one after the other: near the end of an epoch, amid an evaluation, anywhere."""
    amid = (chance.choice(["scoring", "sampling"]), every * chance.randint(1, 2 * epoch // every))
    places = {epoch + chance.randint(-1, 1): "step", chance.randint(1, 2 * epoch - 1): "step"}
    places[amid[1]] = amid[0]
    return [(where, step) for step, where in sorted(places.items())]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: " ".join(CASES[n].values()).replace(" ", "-"))
def test_stopped_and_resumed_equals_never_stopped(trained, tmp_path, monkeypatch, number):
    case, chance = CASES[number], random.Random(number)
    epoch, every = EPOCH // 2, 4
    model = {
        "executor": case["executor"],
        "direction": case["direction"],
        "num_layers": 2,
        "front_end": chance.choice(["one_hot", "embedding", "convolution"]),
        "residual": chance.choice([False, case["cell"] != "irnn"]),  # its sums explode
        **CELL_OPTIONS[case["cell"]],
    }
    if case["dropout"] != "none":
        model |= {"dropout": 0.3, "dropout_kind": case["dropout"]}
    hidden = {"input_masking": chance.choice([0.0, 0.2])}
    training = {
        "precision": case["precision"],
        "batch_size": 6,
        "budget": {"steps": 2 * epoch},
        "evaluate_every": every,
        "sample_length": 5,
        **hidden,
        **OPTIMIZERS[case["optimizer"]],
        **SCHEDULES[case["schedule"]],
    }
    if case["cell"] == "irnn":
        training |= {"clip_grad_norm": 1.0, "learning_rate": 1e-4}
    monkeypatch.setattr(deferred_metrics, "UNSURE", 1e9)  # the state of an IRNN grows without bound
    whole = trained("whole", model, training, epoch=epoch)
    assert whole[-1].why == "budget", whole[-1]
    stopped = trained("stopped", model, training, stops_for(chance, epoch, every), epoch=epoch)
    assert_same(tmp_path / "whole", tmp_path / "stopped")
    shown = [[(e.step, e.nats) for e in events if isinstance(e, Evaluated)] for events in (whole, stopped)]
    assert shown[0] == shown[1]


PLACES = [("step", step) for step in (1, 5, 6, 7, 11, 12, 13, 17, 18, 19, 23, 24)]
PLACES += [(where, step) for step in (6, 12, 24) for where in ("scoring", "sampling")]


def test_stopped_at_every_place_one_after_the_other(trained, tmp_path):
    """An evaluation that a stop breaks off is made again, not left out; also by the run that is stopped once more."""
    model, training = {"dropout": 0.2}, {"schedule": "plateau", "patience": 0}
    trained("whole", model, training)
    trained("stopped", model, training, sorted(PLACES, key=lambda place: (place[1], PLACES.index(place))))
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_early_stopping_stays_stopped_until_it_is_given_more_patience(trained):
    training = {"early_stopping": 1, "optimizer": "sgd", "learning_rate": 1e-30}
    assert (trained("run", {}, training)[-1].why, trained("run", {}, training)[-1].step) == ("early_stopping", 12)
    later = trained("run", {}, training | {"early_stopping": None})
    assert (later[-1].why, later[-1].step) == ("budget", STEPS)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_longer_budget_lays_the_schedule_anew_over_all_of_it(trained, schedule):
    """From the resume on, the learning rate is that of a run with this budget from the beginning."""
    long = {"schedule": schedule}
    rates = {e.step: e.learning_rate for e in trained("whole", {}, long) if isinstance(e, Progress)}
    short = trained("short", {}, long | {"budget": {"steps": 10}})
    before = [e.learning_rate for e in short if isinstance(e, Progress)]
    after = {e.step: e.learning_rate for e in trained("short", {}, long) if isinstance(e, Progress)}
    assert after == {step: rate for step, rate in rates.items() if step > 10}
    if schedule == "cosine":
        assert before[-1] < 0.2 * rates[10]


def test_saving_on_request_goes_on_and_is_gone_on_from(trained, make_config, make_trainer, short, tmp_path):
    """A step later, and amid an evaluation, the run dies: it goes on from what was asked for."""
    trained("whole", {"dropout": 0.2}, {})
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
        asked: list[bool] = []

        def ask(trainer=trainer, step=step, asked=asked):
            if trainer.counters.step == step and not asked:
                asked.append(True)
                trainer.request_save()

        before(trainer, where, ask)
        for event in trainer.run():
            if isinstance(event, Notice):
                assert event.text == f"saved at step {saved}, as asked for"
                break
        shutil.copytree(path, tmp_path / "died")
        header = load_checkpoint(tmp_path / "died" / "checkpoints" / "last.safetensors")[1]
        assert header["counters"]["step"] == saved
        trained("died", {"dropout": 0.2}, {})
        assert_same(tmp_path / "whole", tmp_path / "died")
        shutil.rmtree(tmp_path / "died")


# everything that is kept is needed


class Ticking(SimpleNamespace):
    """A clock that goes on by a second whenever it is read: then the records of time are part of the law too."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


def exactly(path):
    """All that a run leaves behind, with its clock."""
    header = load_checkpoint(path / "checkpoints" / "last.safetensors")[1]
    return remains(path), header, (path / "metrics.jsonl").read_text()


def same(a, b) -> bool:
    (tensors, *rest), *more = a[0], *a[1:]
    (others, *others_rest), *others_more = b[0], *b[1:]
    return (
        (rest, more) == (others_rest, others_more)
        and tensors.keys() == others.keys()
        and all(torch.equal(t, others[name]) for name, t in tensors.items())
    )


NEEDED = {
    "adamw": (
        {"dropout": 0.2},
        {"schedule": "plateau", "patience": 1, "learning_rate": 1.0, "warmup_steps": 0, "evaluate_every": 5},
    ),
    "rmsprop": ({"front_end": "convolution"}, {"optimizer": "rmsprop"}),  # two steps a record, stopped between them
    "sgd": ({}, {"optimizer": "sgd", "learning_rate": 0.5}),
}
# Where there was no evaluation yet, the first one sets these anew.
UNTOUCHED = {"counters.best_step", "counters.evaluations_without_improvement", "schedule.without_improvement"}


@pytest.mark.parametrize("case", NEEDED)
def test_everything_that_a_checkpoint_holds_is_needed(trained, tmp_path, monkeypatch, case):
    """Without an item it is refused; with another value the run goes another way, or it is refused."""
    monkeypatch.setattr(trainer_module, "time", Ticking())
    model, training = NEEDED[case]
    training = {"budget": {"steps": 20}, "evaluate_every": 40} | training
    trained("whole", model, training)
    expected = exactly(tmp_path / "whole")
    trained("stopped", model, training, [("scoring", 15) if case == "adamw" else ("step", 17)], end=False)
    load, kept = TrainingState.load, []

    def resumed(change) -> bool | None:
        """Whether the law holds; None where the checkpoint is refused."""

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
        return same(expected, exactly(tmp_path / "resumed"))

    def listed(tensors, parts):
        kept.extend(("tensors", name, t) for name, t in tensors.items())
        kept.extend((part, name, value) for part, numbers in parts.items() for name, value in numbers.items())

    assert resumed(listed)
    idle = set()
    for part, name, value in kept:

        def without(tensors, parts, part=part, name=name):
            del {"tensors": tensors, **parts}[part][name]

        def another(tensors, parts, part=part, name=name, value=value):
            {"tensors": tensors, **parts}[part][name] = other(name, value)

        assert resumed(without) is None, f"without {part} {name}"
        if resumed(another):
            idle.add(f"{part}.{name}")
    assert idle == (set() if case == "adamw" else UNTOUCHED)


def other(name, value):
    if isinstance(value, torch.Tensor):
        return torch.Generator().manual_seed(99).get_state() if name.startswith("random") else torch.zeros_like(value)
    return not value if isinstance(value, bool) else 0 if value else 1


# numbers gone bad are never saved


def test_what_is_not_finite_is_not_saved_by_a_stop_or_a_request(trained, make_config, make_trainer, short, tmp_path):
    for ask in ("request_stop", "request_save"):
        config = make_config({"hidden_size": 5}, batch_size=3, sequence_length=8, budget={"steps": STEPS})
        trainer = make_trainer(config, tmp_path / ask, short)
        events = []
        for event in trainer.run():
            events.append(event)
            if isinstance(event, Progress) and event.step == 2:
                with torch.no_grad():
                    trainer.model.head.bias[0] = torch.nan
                getattr(trainer, ask)()
        assert isinstance(events[-1], Ended)
        assert events[-1].why == "diverged"
        assert not [e for e in events if isinstance(e, Notice)]
        assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 0
