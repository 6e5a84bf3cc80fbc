"""A training run: losses, carried state, budgets, the best checkpoint, divergence."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from charlstm.checkpoints.format import load_checkpoint, strip_prefix
from charlstm.config import parse_config
from charlstm.errors import UserError
from charlstm.evaluation import Score
from charlstm.executors.triton.pool import Pool
from charlstm.generation import preview
from charlstm.model import head_loss
from charlstm.text.corpus import load_corpus
from charlstm.text.lead_ins import encode_lead_ins, lead_ins
from charlstm.text.statistics import text_statistics
from charlstm.text.streams import IGNORE
from charlstm.training import updates
from charlstm.training.events import Ended, Evaluated, Notice, Progress

OPTIMIZERS = {"adamw": 2e-2, "sgd": 2.0, "rmsprop": 1e-2}


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def copies(trainer):
    return {name: t.clone() for name, t in trainer.model.state_dict().items()}


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "plateau"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.few(6)
def test_loss_decreases(make_trainer, make_config, optimizer, schedule):
    config = make_config(
        optimizer=optimizer,
        learning_rate=OPTIMIZERS[optimizer],
        schedule=schedule,
        budget={"steps": 60},
        evaluate_every=20,
        sample_length=0,
    )
    trainer = make_trainer(config)
    before = trainer.validator.score().nats
    events = list(trainer.run())
    assert before == pytest.approx(text_statistics(trainer.corpus).entropy_bits * math.log(2), abs=0.15)
    assert of(Evaluated, events)[-1].nats < before - 0.5
    assert of(Progress, events)[-1].nats < of(Progress, events)[0].nats - 0.5


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(("batch_size", "sequence_length"), [(1, 7), (4, 16), (7, 16), (4, 400)])
@pytest.mark.few(4)
def test_epoch_trains_on_every_character_once(make_trainer, make_config, batch_size, sequence_length, direction):
    """With constant weights, the losses of an epoch sum up to that of full streams read from a zero state."""
    config = make_config(
        {"num_layers": 2, "direction": direction},
        batch_size=batch_size,
        sequence_length=sequence_length,
        optimizer="sgd",
        learning_rate=1e-30,
        budget={"epochs": 2},
        evaluate_every=39,  # a record per step
        sample_length=0,
    )
    trainer = make_trainer(config)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(3)  # so that the state matters
    events = of(Progress, trainer.run())
    streams, ids = trainer.streams, np.asarray(trainer.corpus.split("train"), np.int64)
    ids = torch.from_numpy(ids[::-1].copy() if direction == "backward" else ids)
    previous = torch.cat([torch.tensor([trainer.model.vocabulary_size]), ids[:-1]])
    expected, used = 0.0, streams.batch_size
    with torch.no_grad():
        for b in range(used):
            part = slice(len(ids) * b // used, len(ids) * (b + 1) // used)
            logits, _ = trainer.model(previous[part, None])
            expected += float(F.cross_entropy(logits[:, 0], ids[part], reduction="sum"))
    epoch = streams.steps_per_epoch
    assert len(events) == 2 * epoch
    for first in (0, epoch):
        records = [r for r in trainer.directory.metrics() if r["kind"] == "train"][first : first + epoch]
        counts = np.diff([len(ids) if first else 0, *(r["characters"] for r in records)])
        assert counts.sum() == len(ids)
        assert float(counts @ [r["nats"] for r in records]) == pytest.approx(expected, rel=1e-6)


def test_losses_depend_on_the_carried_state(make_trainer, make_config, monkeypatch):
    """The same epoch with a zero state for each chunk gives other losses."""
    config = make_config(batch_size=1, optimizer="sgd", learning_rate=1e-30, budget={"epochs": 1}, evaluate_every=39)
    trainer = make_trainer(config)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(3)
    carried = [e.nats for e in of(Progress, trainer.run())]
    again = make_trainer(config, trainer.directory.path)
    again.model.load_state_dict(trainer.model.state_dict())
    losses_from_zero = []
    for event in again.run():
        if isinstance(event, Progress):
            losses_from_zero.append(event.nats)
            again.state.carried = tuple(torch.zeros_like(part) for part in again.state.carried)
    assert carried[0] == losses_from_zero[0]
    assert all(a != b for a, b in zip(carried[1:], losses_from_zero[1:], strict=True))


def test_subnormal_numbers_are_flushed_in_a_step(make_trainer, make_config):
    """They slow the matmuls of the backward pass several times."""
    trainer = make_trainer(make_config(budget={"steps": 1}, evaluate_every=9))
    half = []

    def note(*_):
        half.append(float(torch.tensor(torch.finfo(torch.float32).tiny) * 0.5))

    trainer.model.head.weight.register_hook(note)
    trainer.state.optimizer.register_step_pre_hook(note)
    list(trainer.run())
    note()
    assert half[0] == half[1] == 0 < half[2]


def test_clipped_gradient_is_applied(make_trainer, make_config):
    config = make_config(
        optimizer="sgd", momentum=0.0, learning_rate=1.0, clip_grad_norm=1e-3, schedule="constant", warmup_steps=0
    )
    trainer = make_trainer(config)
    before = copies(trainer)
    event = next(e for e in trainer.run() if isinstance(e, Progress))
    update_norm = math.sqrt(
        sum(float((t - before[name]).square().sum()) for name, t in trainer.model.state_dict().items())
    )
    assert event.gradient_norm > 0.01  # before clipping
    assert update_norm == pytest.approx(1e-3, rel=1e-3)


def test_steps_equal_those_of_a_plain_torch_loop(make_trainer, make_config):
    """Clipped and unclipped steps, bit for bit."""
    config = make_config(clip_grad_norm=0.12, budget={"steps": 12}, evaluate_every=12, schedule="constant")
    trainer, plain = make_trainer(config), make_trainer(config)
    optimizer, streams, state, norms = plain.state.optimizer, plain.streams, plain.state.carried, []
    events = of(Progress, trainer.run())
    for event in events:
        batch = streams.next_batch()
        logits, state = plain.model(batch.previous, tuple(part.detach() for part in state))
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 0.12)))
        for group in optimizer.param_groups:
            group["lr"] = event.learning_rate
        optimizer.step()
    assert [e.gradient_norm for e in events] == norms
    assert min(norms) < 0.12 < max(norms)
    assert same_tensors(copies(trainer), copies(plain))


def test_weight_decay_skips_vectors(make_trainer, make_config):
    config = make_config({"cell": "peephole", "front_end": "embedding", "embedding_size": 4}, weight_decay=0.1)
    groups = make_trainer(config).state.optimizer.param_groups
    decayed = {group["weight_decay"]: {p.dim() for p in group["params"]} for group in groups}
    assert decayed == {0.1: {2}, 0.0: {1}}


# budgets


def steps_of(trainer):
    events = list(trainer.run())
    assert isinstance(events[-1], Ended)
    assert [e for e in events[:-1] if isinstance(e, Ended)] == []
    return of(Progress, events)[-1].step, events[-1]


def test_budget_in_steps(make_trainer, make_config):
    steps, ended = steps_of(make_trainer(make_config(budget={"steps": 7})))
    assert (steps, ended.stop_reason, ended.step) == (7, "budget", 7)


def test_budget_in_epochs(make_trainer, make_config):
    trainer = make_trainer(make_config(budget={"epochs": 0.5}))
    steps, ended = steps_of(trainer)
    assert steps == math.ceil(trainer.streams.steps_per_epoch / 2)
    assert ended.stop_reason == "budget"


def test_budget_in_minutes_counts_training_only(make_trainer, make_config, monkeypatch):
    now = [0.0]

    def perf_counter():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(updates, "time", SimpleNamespace(perf_counter=perf_counter))
    trainer = make_trainer(make_config(budget={"minutes": 0.1}, evaluate_every=2))
    score = trainer.validator.score

    def slow_score():
        now[0] += 100.0
        return score()

    monkeypatch.setattr(trainer.validator, "score", slow_score)
    steps, ended = steps_of(trainer)
    assert (steps, ended.seconds, ended.stop_reason) == (6, 6.0, "budget")


@pytest.fixture
def clock(monkeypatch):
    """A clock for the steps: ``clock[0]`` is the time, ``clock[1]`` what each look at it takes, in seconds."""
    clock = [0.0, 0.05]

    def perf_counter():
        clock[0] += clock[1]
        return clock[0]

    monkeypatch.setattr(updates, "time", SimpleNamespace(perf_counter=perf_counter))
    return clock


def test_cosine_over_minutes_is_smooth_across_a_resume(make_trainer, make_config, clock, monkeypatch):
    settings = {"learning_rate": 1.0, "schedule": "cosine", "warmup_steps": 0, "final_learning_rate_fraction": 0.1}
    config = make_config(budget={"minutes": 0.05}, evaluate_every=10, **settings)
    rates, seconds = [], [0.0]
    for stop_at in (25, None):
        trainer = make_trainer(config)
        if stop_at is None:
            trainer.resume()
        score = trainer.validator.score

        def slow_score(score=score):
            clock[0] += 500.0
            return score()

        monkeypatch.setattr(trainer.validator, "score", slow_score)
        for event in of(Progress, trainer.run()):
            rates.append(event.learning_rate)
            seconds.append(event.seconds)
            clock[1] = 0.04 if event.step % 2 else 0.06
            if event.step == stop_at:
                trainer.request_stop()
        clock[0] += 1000.0
    assert (len(rates), seconds[-1]) == (60, pytest.approx(3.0, abs=0.05))
    assert np.diff(seconds).max() < 0.07
    assert rates == pytest.approx(0.1 + 0.45 * (1 + np.cos(np.pi * np.array(seconds[:-1]) / 3.0)))
    assert rates[-1] < 0.102


@pytest.mark.parametrize(("pause_at", "steps"), [(0, 61), (20, 101)])
def test_a_pause_of_the_process_is_no_training(make_trainer, make_config, clock, monkeypatch, pause_at, steps):
    trainer = make_trainer(make_config(learning_rate=1.0, budget={"minutes": 0.1}, warmup_steps=0, evaluate_every=1000))
    gradients = trainer.step.gradients

    def paused(*arguments):
        if trainer.counters.step == pause_at:
            clock[0] += 3600.0
        return gradients(*arguments)

    monkeypatch.setattr(trainer.step, "gradients", paused)
    progress = of(Progress, trainer.run())
    assert len(progress) == steps  # of 120: the pause counts as 20 steps, of 0.15 s before the first
    assert progress[-1].learning_rate < 0.052
    assert progress[-1].seconds == pytest.approx(6.0, abs=0.06)


@pytest.mark.parametrize("budget", [{"steps": 5, "epochs": 100.0}, {"steps": 1000, "epochs": 5 / 17}])
def test_first_budget_limit_ends_the_run(make_trainer, make_config, budget):
    trainer = make_trainer(make_config(budget=budget))
    assert trainer.streams.steps_per_epoch == 17
    assert steps_of(trainer)[0] == 5


@pytest.mark.parametrize("budget", [{"steps": 40}, {"epochs": 1.5}, {"steps": 5}])
def test_ten_evaluations_are_spread_over_the_budget(make_trainer, make_config, budget):
    trainer = make_trainer(make_config(evaluate_every=None, sample_length=0, budget=budget))
    steps = [event.step for event in of(Evaluated, trainer.run())]
    assert len(steps) == min(10, trainer.counters.step)
    assert steps == pytest.approx(np.linspace(0, trainer.counters.step, len(steps) + 1)[1:], abs=1)


def test_run_ends_with_an_evaluation(make_trainer, make_config):
    events = list(make_trainer(make_config(budget={"steps": 8}, evaluate_every=6)).run())
    assert [e.step for e in of(Evaluated, events)] == [6, 8]


def test_run_of_minutes_ends_with_a_record_and_an_evaluation(make_trainer, make_config, clock):
    """The time of a step is known after it."""
    trainer = make_trainer(make_config(budget={"minutes": 0.654 / 60}, evaluate_every=60))
    events = list(trainer.run())
    assert [e.step for e in of(Evaluated, events)] == [14]
    assert [r["step"] for r in trainer.directory.metrics() if r["kind"] == "train"] == [3, 6, 9, 12, 14]


# the best checkpoint, early stopping, plateau: scripted scores


def script_scores(trainer, monkeypatch, scores):
    remaining = iter(scores)
    monkeypatch.setattr(trainer.validator, "score", lambda: Score(next(remaining), 150))


def test_worse_score_does_not_replace_best(make_trainer, make_config, monkeypatch):
    trainer = make_trainer(make_config(budget={"steps": 5}, evaluate_every=1))
    script_scores(trainer, monkeypatch, [2.5, 2.0, 2.2, 2.0, 2.1])
    events = of(Evaluated, trainer.run())
    assert [e.improved for e in events] == [True, True, False, False, False]
    assert [e.best_nats for e in events] == [2.5, 2.0, 2.0, 2.0, 2.0]
    assert load_checkpoint(trainer.directory.best)[1]["counters"]["step"] == 2
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 5


def test_best_remains_best_after_resume(make_trainer, make_config, monkeypatch):
    config = make_config(budget={"steps": 6}, evaluate_every=1)
    trainer = make_trainer(config)
    script_scores(trainer, monkeypatch, [2.5, 2.0, 2.2])
    for event in trainer.run():
        if isinstance(event, Evaluated) and event.step == 3:
            trainer.request_stop()
    again = make_trainer(config)
    again.resume()
    script_scores(again, monkeypatch, [2.1, 2.05, 2.3])
    assert [e.improved for e in of(Evaluated, again.run())] == [False, False, False]
    assert load_checkpoint(again.directory.best)[1]["counters"]["step"] == 2


def test_early_stopping(make_trainer, make_config, monkeypatch):
    trainer = make_trainer(make_config(budget={"steps": 50}, evaluate_every=1, early_stopping=2))
    script_scores(trainer, monkeypatch, [2.5, 2.6, 2.4, 2.4, 2.45, 2.0])
    events = list(trainer.run())
    ended = events[-1]
    assert (ended.stop_reason, ended.step, ended.best_step, ended.best_nats) == ("early_stopping", 5, 3, 2.4)
    assert trainer.directory.finished


@pytest.mark.parametrize(
    ("scores", "stop_reason", "step", "best_step"),
    [
        ([2.5, 40.0, 2.6, 40.0], "early_stopping", 3, 1),
        ([2.5, 40.0, 40.0], "diverged", 3, 1),
        ([40.0, 40.0], "diverged", 2, None),
        ([40.0, 2.5, 40.0, 2.4, 2.5, 2.5], "early_stopping", 6, 4),
    ],
)
def test_high_loss_is_no_improvement(make_trainer, make_config, monkeypatch, scores, stop_reason, step, best_step):
    trainer = make_trainer(make_config(budget={"steps": 50}, evaluate_every=1, early_stopping=2))
    script_scores(trainer, monkeypatch, scores)
    ended = list(trainer.run())[-1]
    assert (ended.stop_reason, ended.step, ended.best_step) == (stop_reason, step, best_step)
    saved = load_checkpoint(trainer.directory.last)[1]["counters"]
    assert saved["best_nats"] == ended.best_nats == (None if best_step is None else scores[best_step - 1])


def test_plateau_reduces_rate_and_survives_resume(make_trainer, make_config, monkeypatch):
    config = make_config(
        schedule="plateau",
        gamma=0.5,
        patience=1,
        warmup_steps=0,
        learning_rate=0.01,
        budget={"steps": 8},
        evaluate_every=1,
    )
    scores = [2.5, 2.6, 2.6, 2.6, 2.6, 2.0, 2.1, 2.2]  # more than one in a row without improvement after 3, 5 and 8
    expected = [0.01] * 3 + [0.005] * 2 + [0.0025] * 3
    trainer = make_trainer(config)
    script_scores(trainer, monkeypatch, scores)
    rates = []
    for event in trainer.run():
        if isinstance(event, Progress):
            rates.append(event.learning_rate)
        if isinstance(event, Evaluated) and event.step == 4:
            trainer.request_stop()
    again = make_trainer(config)
    again.resume()
    script_scores(again, monkeypatch, scores[4:])
    rates += [e.learning_rate for e in of(Progress, again.run())]
    assert rates == pytest.approx(expected)


# divergence


def nan_loss(trainer, loss):
    return loss * math.nan


def enormous_loss(trainer, loss):
    return loss * 1e32


def infinite_gradient(trainer, loss):
    trainer.model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    return loss


@pytest.mark.parametrize("fault", [nan_loss, enormous_loss, infinite_gradient])
def test_diverged_step_leaves_the_last_good_checkpoint(make_trainer, make_config, monkeypatch, fault):
    config = make_config(evaluate_every=4, budget={"steps": 12})
    uninterrupted = make_trainer(config)
    trainer = make_trainer(config, uninterrupted.directory.path.with_name("diverged"))
    list(uninterrupted.run())
    make_loss, before = trainer.step.loss, {}

    def loss(batch, carried):
        value, state = make_loss(batch, carried)
        if trainer.counters.step == 6:
            before.update(copies(trainer))
            before["optimizer"] = repr(trainer.state.optimizer.state_dict()["state"])
            value = fault(trainer, value)
        return value, state

    monkeypatch.setattr(trainer.step, "loss", loss)
    events = list(trainer.run())
    ended = events[-1]
    assert (ended.stop_reason, ended.step) == ("diverged", 6)
    assert "step 7" in ended.advice
    assert "learning_rate" in ended.advice
    assert before.pop("optimizer") == repr(trainer.state.optimizer.state_dict()["state"])
    assert same_tensors(before, copies(trainer))
    tensors, header = load_checkpoint(trainer.directory.last)
    assert header["counters"]["step"] == 4
    assert all(t.isfinite().all() for t in strip_prefix("model", tensors).values())
    assert trainer.directory.metrics()[-1] | {"seconds": 0} == {
        "kind": "end",
        "stop_reason": "diverged",
        "step": 6,
        "seconds": 0,
    }
    assert not trainer.directory.finished

    again = make_trainer(config, trainer.directory.path)
    again.resume()
    assert list(again.run())[-1].stop_reason == "budget"
    assert same_tensors(copies(uninterrupted), copies(again))


def test_optimizer_state_that_is_not_finite_is_never_saved(make_trainer, make_config):
    trainer = make_trainer(make_config(evaluate_every=2, budget={"steps": 4}))

    def poll():
        if trainer.counters.evaluation_due:
            next(iter(trainer.state.optimizer.state.values()))["exp_avg"].fill_(math.inf)

    trainer.poll = poll
    ended = list(trainer.run())[-1]
    assert (ended.stop_reason, ended.step) == ("diverged", 2)
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 0


def test_exploded_weights_are_never_saved(make_trainer, make_config):
    """The first step makes the weights explode, each step is followed by an evaluation, and the budget ends the run."""
    trainer = make_trainer(make_config(learning_rate=100.0, warmup_steps=0, evaluate_every=1, budget={"steps": 3}))
    events = list(trainer.run())
    assert [type(e) for e in events] == [Progress, Evaluated] * 2 + [Progress, Ended]
    assert not any(e.improved for e in events if isinstance(e, Evaluated))
    assert (events[-1].stop_reason, events[-1].step, events[-1].best_nats) == ("diverged", 3, None)
    assert "held-out" in events[-1].advice
    assert not trainer.directory.best.exists()
    assert load_checkpoint(trainer.directory.last)[1]["counters"]["step"] == 0


# metrics.jsonl


def test_records_have_the_documented_fields(make_trainer, make_config):
    trainer = make_trainer(make_config(evaluate_every=6, budget={"steps": 12}))
    list(trainer.run())
    records = trainer.directory.metrics()
    train = [r for r in records if r["kind"] == "train"]
    assert {frozenset(r) for r in train} == {
        frozenset(
            [
                "kind",
                "step",
                "epoch",
                "characters",
                "seconds",
                "nats",
                "learning_rate",
                "gradient_norm",
                "characters_per_second",
            ]
        )
    }
    assert [r["step"] for r in train] == list(range(1, 13))
    assert [r["characters"] for r in train] == [80 * k for k in range(1, 13)]
    assert all(a["seconds"] < b["seconds"] for a, b in pairwise(train))
    evaluations = [r for r in records if r["kind"] == "evaluation"]
    needed = [
        "kind",
        "split",
        "step",
        "epoch",
        "characters",
        "seconds",
        "nats",
        "bits_per_character",
        "characters_scored",
    ]
    assert all(set(needed) <= set(r) for r in evaluations)
    assert [r["step"] for r in evaluations] == [6, 12]
    for record in evaluations:
        assert record["split"] == "validation"
        assert record["characters_scored"] == len(trainer.corpus.split("validation"))
        assert record["bits_per_character"] == pytest.approx(record["nats"] / math.log(2))
        assert record["characters"] == 80 * record["step"]
        assert record["epoch"] == pytest.approx(record["step"] / 17)
    assert (records[0]["kind"], records[-1]["kind"]) == ("start", "end")


def test_records_average_over_their_steps(make_trainer, make_config):
    config = make_config(evaluate_every=60, sequence_length=25, budget={"steps": 18})
    trainer = make_trainer(config)
    losses, make_loss = [], trainer.step.loss

    def loss(x, carried):
        value, state = make_loss(x, carried)
        losses.append((float(value.detach()), int((x.targets != IGNORE).sum())))
        return value, state

    trainer.step.loss = loss
    list(trainer.run())
    assert len({count for _, count in losses}) > 1
    train = [r for r in trainer.directory.metrics() if r["kind"] == "train"]
    assert [r["step"] for r in train] == [3, 6, 9, 12, 15, 18]
    for index, record in enumerate(train):
        chunk = losses[3 * index : 3 * index + 3]
        mean = sum(nats * count for nats, count in chunk) / sum(count for _, count in chunk)
        assert record["nats"] == pytest.approx(mean)


def test_record_speed_covers_the_time_since_the_last_record(make_trainer, make_config):
    trainer = make_trainer(make_config(evaluate_every=60, budget={"steps": 12}))
    list(trainer.run())
    train = [r for r in trainer.directory.metrics() if r["kind"] == "train"]
    assert [r["step"] for r in train] == [3, 6, 9, 12]
    for before, record in pairwise([{"characters": 0, "seconds": 0.0}, *train]):
        characters, seconds = (record[name] - before[name] for name in ("characters", "seconds"))
        assert record["characters_per_second"] == pytest.approx(characters / seconds)


def test_each_evaluation_samples_with_another_seed(make_trainer, make_config):
    settings = {"optimizer": "sgd", "learning_rate": 1e-30}  # constant weights
    trainer = make_trainer(make_config(seed=5, evaluate_every=3, budget={"steps": 6}, sample_length=40, **settings))
    samples = [event.sample for event in of(Evaluated, trainer.run())]
    model, corpus = trainer.model, trainer.corpus
    passages = encode_lead_ins(lead_ins(corpus, "forward"), corpus.vocabulary)
    assert samples == [preview(model, corpus.vocabulary, 40, 5 + step, lead_ins=passages) for step in (3, 6)]
    assert samples[0] != samples[1]


def test_short_text_gives_a_notice(make_config, make_trainer, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abcab" * 6)
    config = make_config(corpus={"source": str(path)}, budget={"steps": 3})
    trainer = make_trainer(config, tmp_path / "run", load_corpus(str(path)))
    events = list(trainer.run())
    assert isinstance(events[0], Notice)
    assert "too short" in events[0].text
    assert events[-1].stop_reason == "budget"


def test_empty_validation_split_is_refused_before_training(make_config, make_trainer, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abcab" * 20)
    text = load_corpus(str(path), validation_fraction=0.001, test_fraction=0.105)
    with pytest.raises(UserError, match="validation split"):
        make_trainer(make_config(corpus={"source": str(path)}), tmp_path / "run", text)


def test_large_vocabulary_trains(make_config, make_trainer, tmp_path):
    path = tmp_path / "chinese.txt"
    path.write_text("".join(chr(0x4E00 + (k * 7) % 5000) for k in range(6000)), encoding="utf-8")
    text = load_corpus(str(path))
    assert text.vocabulary.size == 5000
    config = make_config({"front_end": "embedding", "embedding_size": 8}, budget={"steps": 2}, evaluate_every=1)
    trainer = make_trainer(config, tmp_path / "run", text)
    assert list(trainer.run())[-1].stop_reason == "budget"


def test_chunked_logits_train_the_same(make_config, make_trainer, monkeypatch):
    """With about as few logits in memory as there are symbols."""
    config = make_config(budget={"steps": 20}, evaluate_every=20)
    unchunked = of(Progress, make_trainer(config).run())
    monkeypatch.setattr(head_loss, "logits_held", lambda *_: 40)
    chunks = of(Progress, make_trainer(config).run())
    assert [e.nats for e in chunks] != [e.nats for e in unchunked]
    for name in ("nats", "gradient_norm"):
        assert [getattr(e, name) for e in chunks] == pytest.approx([getattr(e, name) for e in unchunked], rel=1e-3)


def test_bidirectional_scores_are_marked_pseudo(make_config, make_trainer):
    trainer = make_trainer(make_config({"direction": "bidirectional"}, budget={"steps": 6}))
    evaluated = of(Evaluated, trainer.run())
    (event,) = evaluated
    assert event.is_pseudo_likelihood
    before, after = event.sample.split("[")[0], event.sample.split("]")[1]
    assert (len(before), len(after), len(event.sample)) == (4, 4, 12 + 2)
    shown = trainer.corpus.vocabulary.decode(trainer.corpus.split("validation")[:12])
    assert (shown[:4], shown[-4:]) == (before, after)
    assert [r["pseudo_likelihood"] for r in trainer.directory.metrics() if r["kind"] == "evaluation"] == [True]


def test_the_default_budget_is_ten_epochs():
    assert parse_config({"corpus": {"source": "x"}}, "test").training.budget.epochs == 10


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("end", ["stopped", "closed"])
def test_executor_buffers_are_freed_at_the_end_of_a_run(make_trainer, make_config, monkeypatch, end):
    pool = Pool()
    monkeypatch.setattr("charlstm.executors.triton.executor.POOL", pool)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = make_config(
        {"executor": "triton", "hidden_size": 4},
        **{"device": device, "batch_size": 2, "sequence_length": 4, "sample_length": 0},
        **{"evaluate_every": 1000, "budget": {"steps": 1000}},
    )
    trainer = make_trainer(config)
    events = trainer.run()
    while trainer.counters.step < 3:
        next(events)
    assert sum(map(len, pool._plans.values())) == 1
    if end == "stopped":
        trainer.request_stop()
        assert of(Ended, list(events))
    else:
        events.close()
    assert not pool._plans
