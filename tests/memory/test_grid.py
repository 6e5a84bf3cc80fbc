"""Which runs a memory comparison trains, on which texts, and what remains of them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charlstm.api import load
from charlstm.comparison.training_job import TrainingJob
from charlstm.config import CorpusConfig, MemoryConfig
from charlstm.errors import UserError
from charlstm.jobs.base import Control
from charlstm.jobs.this_process import ThisProcess
from charlstm.memory.claims import claims_record
from charlstm.memory.comparison import MemoryComparison
from charlstm.memory.datasets import Texts, delete_texts, training_strings
from charlstm.memory.dynamics import FILE, DynamicsMeasurement, read_dynamics
from charlstm.memory.experiments.recall_runs import RecallRuns
from charlstm.memory.grid import Grid
from charlstm.memory.groups import Outcome, RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.state_measures import untrained
from charlstm.memory.task_measures import TEST_SEED
from charlstm.memory.text_measures import segments
from charlstm.probes.gates import gates
from charlstm.probes.tasks import Reber, Recall
from charlstm.training.trainer import Trainer

TASK = {"task": "Recall", "lag": 5, "keys": 3, "letters": 4}
ARMS = {
    "lstm": {"model.cell": "lstm", "initializations": {"a": {"model.forget_bias": 0}, "b": {"model.forget_bias": 5}}},
    "rnn": {"model.cell": "rnn"},
}


def make_config(**fields) -> MemoryConfig:
    training = {"batch_size": 8, "sequence_length": 32, "evaluate_every": 2, "sample_length": 0, "device": "cpu"}
    return MemoryConfig.model_validate(
        {
            "seeds": 2,
            "search_seeds": 1,
            "learning_rates": [1e-3, 1e-2],
            "test_strings": 30,
            "shared": {
                "model": {"hidden_size": 5, "embedding_size": 4},
                "training": {**training, "precision": "float32", "budget": {"steps": 6, "target_nats": 0.01}},
            },
            "arms": ARMS,
            "experiments": {"recall": {"arms": ["lstm"], "lags": [2, 5], "keys": 3, "letters": 4, "strings": 60}},
            **fields,
        }
    )


def make_groups(grid: Grid, arms=("lstm",)) -> list[RunGroup]:
    groups, previous = [], None
    for lag in (2, 5):
        dataset = grid.texts.task(f"recall-{lag}", TASK | {"lag": lag}, 60)
        previous = grid.run_groups("recall", dataset, arms, previous)
        groups += previous.values()
    return groups


class Results(dict):
    """The outcomes of runs by (dataset, arm, rate, seed), in place of training."""

    def train(self, jobs: list[TrainingJob], nats) -> list[str]:
        for job in jobs:
            training = job.trial.config.training
            self[job.label] = Outcome(nats(job.trial.arm, training.learning_rate, training.seed), 0.01, 6, None)
        return [job.label for job in jobs]


@pytest.fixture
def results(monkeypatch) -> Results:
    known = Results()
    monkeypatch.setattr(Grid, "outcome", lambda self, *run: known.get(self._path(*run).name))
    return known


def test_search_precedes_judged_seeds_of_the_best_initialization(tmp_path, results):
    grid = Grid(make_config(), tmp_path)
    short, long = make_groups(grid)
    jobs = grid.next_jobs([short, long])
    assert all(job.evaluations_are_results for job in jobs)
    first = results.train(jobs, lambda arm, *_: 0.5 if arm.endswith("b") else 1.0)
    assert first == [
        f"recall-2-lstm, {initialization}-{rate}-seed1001" for initialization in "ab" for rate in ("0.001", "0.01")
    ]
    while (jobs := grid.next_jobs([short])) and "seed1001" in jobs[0].label:  # the grids widen
        results.train(jobs, lambda arm, rate, _: (0.5 if arm.endswith("b") else 1.0) + abs(math.log10(rate) + 3))
    assert [job.label for job in jobs] == [f"recall-2-lstm, b-0.001-seed{seed}" for seed in (1, 2)]
    assert [job.label for job in grid.next_jobs([long])] == [job.label for job in jobs]  # it waits for the shorter lag


@pytest.mark.parametrize(
    ("best", "expected", "at_edge"),
    [
        (1e-3, [1e-4, 1e-3, 1e-2], False),
        (1e-9, [1e-5, 1e-4, 1e-3, 1e-2], True),
        (1e-1, [1e-3, 1e-2, 1e-1, 1.0], False),
        (1e9, [1e-3, 1e-2, 1e-1, 1.0], True),
    ],
)
def test_grid_widens_while_the_best_rate_is_at_an_edge(tmp_path, results, best, expected, at_edge):
    grid = Grid(make_config(), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    while (jobs := grid.next_jobs([group])) and "seed1001" in jobs[0].label:
        results.train(jobs, lambda _, rate, __: abs(math.log10(rate / best)))
    runs = grid.best_runs(group)
    assert (list(runs.scores), runs.at_edge) == (expected, at_edge)
    assert runs.learning_rate == min(expected, key=lambda rate: abs(math.log10(rate / best)))


@pytest.mark.parametrize(("best", "expected"), [(1e-9, [1e-4, 1e-3, 1e-2, 2e-2]), (1.0, [1e-3, 1e-2, 2e-2, 4e-2])])
def test_uneven_grid_widens_by_the_ratio_at_the_edge(tmp_path, monkeypatch, best, expected):
    monkeypatch.setattr(Grid, "outcome", lambda _, __, rate, ___: Outcome(abs(math.log(rate / best)), 0.0, 6, None))
    grid = Grid(make_config(learning_rates=[1e-3, 1e-2, 2e-2], widenings=1), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    assert grid.rate_search.rates(group) == expected


@pytest.mark.parametrize("stop_reason", ["budget", "diverged"])
def test_outcome_of_a_run_is_that_of_its_records(tmp_path, stop_reason):
    grid = Grid(make_config(), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    directory = grid.trial(group, 1e-3, 1).directory
    assert grid.outcome(group, 1e-3, 1) is None
    directory.create(grid.trial(group, 1e-3, 1).config)
    directory.prune(keep_best=False)  # nothing to resume is left, as after the measurements
    record = {"kind": "evaluation", "split": "validation", "characters": 80, "seconds": 1.0}
    for step, nats in ((2, 0.5), (4, 0.01), (6, 0.005), (8, 0.02)):
        directory.append_metrics(record | {"step": step, "nats": nats})
    assert grid.outcome(group, 1e-3, 1) is None
    directory.append_metrics({"kind": "end", "stop_reason": stop_reason, "step": 8, "seconds": 1.0})
    assert grid.outcome(group, 1e-3, 1) == Outcome(0.005, 0.01, 8, 4, diverged=stop_reason == "diverged")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({1e-4: None, 1e-3: 6, 1e-2: 4, 1e-1: 2}, 1e-2),  # the middle one, not the fastest
        ({1e-4: None, 1e-3: 6, 1e-2: 4, 1e-1: None}, 1e-3),
        ({1e-4: None, 1e-3: None, 1e-2: None, 1e-1: 2, 1.0: None}, 1e-1),
    ],
)
def test_best_rate_is_the_middle_of_those_that_reach_the_target(tmp_path, monkeypatch, steps, expected):
    def outcome(_self: Grid, _group: RunGroup, rate: float, seed: int) -> Outcome:
        reached = steps.get(rate)
        if (rate, seed) == (1e-4, 1001):
            reached = 6  # one seed is not enough
        return Outcome(1.0 if reached is None else 0.009, 0.01, reached or 6, reached)

    monkeypatch.setattr(Grid, "outcome", outcome)
    grid = Grid(make_config(search_seeds=2, learning_rates=list(steps)), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    search = grid.rate_search.result(group)
    assert search.learning_rate == expected
    assert search.rank == (0.01, -sum(step is not None for step in steps.values()), steps[expected])


def test_grid_widens_below_rates_that_diverge(tmp_path, monkeypatch):
    """What a run reached before it diverged does not count: from 1e-3 on all diverge, at 1e-4 they learn slowly."""

    def outcome(_self: Grid, _group: RunGroup, rate: float, _seed: int) -> Outcome:
        return Outcome(0.1, 0.01, 3, None, diverged=True) if rate > 5e-4 else Outcome(0.5, 0.01, 6, None)

    monkeypatch.setattr(Grid, "outcome", outcome)
    grid = Grid(make_config(learning_rates=[1e-3, 1e-2], widenings=2, search_seeds=2), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    assert grid.rate_search.result(group).learning_rate == 1e-5, "of equal scores the lowest rate"
    assert list(grid.rate_search.result(group).scores) == [1e-5, 1e-4, 1e-3, 1e-2]


def test_diverged_seed_counts_as_one_that_learned_nothing(tmp_path, monkeypatch):
    def outcome(_self: Grid, _group: RunGroup, rate: float, seed: int) -> Outcome:
        diverged = (rate, seed) == (1e-2, 1001)
        return Outcome(0.1, 0.01, 3, None, diverged=diverged) if rate == 1e-2 else Outcome(9.0, 0.01, 6, None)

    monkeypatch.setattr(Grid, "outcome", outcome)
    grid = Grid(make_config(search_seeds=2), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["rnn"]).values()
    baseline = group.dataset.baseline_nats
    search = grid.rate_search.result(group)
    assert (search.learning_rate, search.rank[0]) == (1e-2, pytest.approx((baseline + 0.1) / 2))


def test_initialization_that_reaches_the_target_at_more_rates_of_the_grid_is_judged(tmp_path, monkeypatch):
    """Initialization a is faster at its best rate, b reaches the target at more rates; a rate of a wider grid does
    not count."""
    reached = {("a", 1e-2): 2, ("a", 1e-1): 1, ("b", 1e-3): 6, ("b", 1e-2): 5}

    def outcome(_self: Grid, group: RunGroup, rate: float, _seed: int) -> Outcome:
        steps = reached.get((group.arm[-1], rate))
        return Outcome(1.0 if steps is None else 0.009, 0.01, steps or 6, steps)

    monkeypatch.setattr(Grid, "outcome", outcome)
    grid = Grid(make_config(learning_rates=[1e-3, 1e-2], widenings=1), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-2", TASK, 60), ["lstm"]).values()
    a, b = group.members
    assert (grid.rate_search.result(a).learning_rate, grid.rate_search.result(a).rank[1]) == (1e-2, -1)
    assert (grid.rate_search.result(b).learning_rate, grid.rate_search.result(b).rank[1]) == (1e-3, -2)
    assert grid.best_runs(group).group.arm == "lstm, b"


def test_seeds_of_a_repetition_are_others():
    first, second = make_config(), make_config(first_seed=101, search_seeds=3)
    assert (first.judged_seeds(), first.seeds_of_search()) == (range(1, 3), range(1001, 1002))
    assert (second.judged_seeds(), second.seeds_of_search()) == (range(101, 103), range(1101, 1104))
    assert claims_record(second)["seeds"] == [101, 102]


def test_median_of_the_steps_has_bounds_if_every_seed_reaches_the_target(tmp_path, monkeypatch):
    steps = [2, 4, 6, 8, 10]

    def outcome(_: Grid, __: RunGroup, ___: float, seed: int) -> Outcome:
        return Outcome(0.005, 0.01, 10, steps[seed - 1] if seed < 1000 else 6)

    monkeypatch.setattr(Grid, "outcome", outcome)
    monkeypatch.setattr(RecallRuns, "_fractions", lambda *_: [1.0] * 5)
    config = make_config(seeds=5)
    runs = RecallRuns(config, Grid(config, tmp_path), ["rnn"], [2])
    metric = runs.metrics()["steps to solve at lag 2", "rnn"]
    assert (metric.text, metric.interval, metric.low) == ("6 steps", "5 seeds: 2 to 10", 2)
    steps[0] = None
    metric = runs.metrics()["steps to solve at lag 2", "rnn"]
    assert (metric.text, metric.interval, metric.reason) == ("7 steps", "", "1 of 5 seeds without a value")


@pytest.mark.parametrize("learned", [0, 1])
def test_longer_lag_is_trained_if_a_judged_seed_learned(tmp_path, results, learned):
    grid = Grid(make_config(widenings=0), tmp_path)
    short, long = groups = make_groups(grid)
    labels = []
    while jobs := grid.next_jobs(groups):
        labels += results.train(jobs, lambda _, __, seed: 0.1 if learned and seed == 2 else math.log(3))
    assert any(label.startswith("recall-5") for label in labels) == bool(learned)
    assert grid.is_hopeless(long) is not bool(learned)
    assert len(grid.best_runs(long).paths) == 2 * learned
    assert len(grid.best_runs(short).paths) == 2
    assert grid.expected_runs(groups)[1] == (12 if learned else 6)


def test_training_texts_differ_by_seed_and_exclude_test_strings(tmp_path):
    texts = Texts(tmp_path, 30)
    dataset = texts.task("recall-5", TASK, 300)
    contents = []
    for seed in (1, 2, 1001):
        dataset.write(seed)
        contents.append(Path(dataset.corpus_for(seed).source).read_text().split())
    assert len(contents[0]) == 300
    assert contents[0] != contents[1] != contents[2]
    test = set(Recall(5, keys=3, letters=4).strings(30, TEST_SEED))
    assert all(test.isdisjoint(lines) for lines in contents)


def test_common_strings_of_small_grammars_are_excluded():
    test = set(Reber().strings(20, TEST_SEED))
    assert not test.isdisjoint(Reber().strings(200, 1))
    strings = training_strings(Reber(), 200, 1, 20)
    assert len(strings) == 200
    assert test.isdisjoint(strings)
    with pytest.raises(ValueError, match="nearly all of its strings are test strings"):
        training_strings(Recall(0, keys=2), 10, 1, 30)


def test_other_settings_of_a_text_raise(tmp_path):
    Texts(tmp_path, 30).task("recall-5", TASK, 300)
    with pytest.raises(UserError, match=r"recall-5.json has other settings.*--overwrite"):
        Texts(tmp_path, 31).task("recall-5", TASK, 300)
    delete_texts(tmp_path, ["recall-5"])
    Texts(tmp_path, 31).task("recall-5", TASK, 300)


@pytest.fixture
def job(tmp_path) -> TrainingJob:
    grid = Grid(make_config(), tmp_path)
    (group,) = grid.run_groups("recall", grid.texts.task("recall-5", TASK, 60), ["rnn"]).values()
    group.dataset.write(1)
    return TrainingJob(grid.trial(group, 1e-2, 1), DynamicsMeasurement(TASK, texts=3, depth=6))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(load(path, "last").model.state_dict())


def test_dynamics_do_not_change_training(job):
    assert job.work(Control())
    path = job.trial.directory.path
    records, measured = read_dynamics(path), tensors(path)
    assert [one["step"] for one in records] == [0, 2, 4, 6]
    assert records[0]["nats"] is None
    assert [one["nats"] for one in records[1:]] == [
        one["nats"] for one in job.trial.directory.metrics() if one["kind"] == "evaluation"
    ]
    assert all(one["depth"] >= 0 and one["spectral_radius"] > 0 for one in records)
    job.trial.delete()
    assert TrainingJob(job.trial).work(Control())
    assert not read_dynamics(path)
    assert all(torch.equal(value, measured[name]) for name, value in tensors(path).items())


def test_dynamics_with_other_settings_are_left_out(job):
    assert job.work(Control())
    path, measured = job.trial.directory.path, job.observer
    assert len(read_dynamics(path, measured)) == len(read_dynamics(path)) == 4
    for other in ({"depth": 7}, {"texts": 2}, {"task": {**TASK, "lag": 6}}):
        assert not read_dynamics(path, replace(measured, **other))
    assert read_dynamics(path, replace(measured, steps=(0, 3)))


@pytest.mark.parametrize("stop_at", [2, 3])
def test_dynamics_continue_where_training_resumes(job, stop_at):
    assert job.work(Control())
    path = job.trial.directory.path
    expected = read_dynamics(path)
    job.trial.delete()
    trainer = []

    class StopAt(Control):
        def should_stop(self):
            return bool(trainer) and trainer[0].counters.step >= stop_at

    with pytest.MonkeyPatch.context() as patch:
        start = Trainer.run
        patch.setattr(Trainer, "run", lambda self: (trainer.append(self), start(self))[1])
        assert not job.work(StopAt())
    with (path / FILE).open("a") as file:
        file.write(json.dumps({"step": stop_at + 1, "depth": 99}) + '\n{"step": 5, "dep')
    assert job.work(Control())
    assert read_dynamics(path) == expected


def test_dynamics_after_given_steps_on_a_text(tmp_path):
    """Also where the training is stopped between two of the steps, and resumed."""
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be: that is the question. " * 40)
    config = make_config(arms={"gru": {"model.cell": "gru"}}, experiments={"text": text_section(text)})
    grid = Grid(config, tmp_path)
    (group,) = grid.run_groups("text", grid.texts.existing("text", config.experiments.text.corpus), ["gru"]).values()
    job = TrainingJob(grid.trial(group, 1e-2, 1), DynamicsMeasurement(None, texts=2, depth=6, steps=(5, 0, 3, 4, 99)))
    assert job.work(Control())
    path = job.trial.directory.path
    records = read_dynamics(path)
    assert [one["step"] for one in records] == [0, 3, 4, 5], "once also at step 4, during whose evaluation it is polled"
    assert all("nats" not in one for one in records)
    assert all(0 < one["constant_fraction"] < 1 and one["state_rms"] > 0 for one in records)
    initial = untrained(load(path, "last"))
    strings = segments(load(path, "last").corpus().split("validation"), 13, 2)
    with torch.no_grad():
        _, carried = initial.eval().encode(strings[:7])
    half_lives = gates(initial, strings[7:-1], carried).half_lives
    assert records[0]["half_life"] == pytest.approx(half_lives.max(), rel=1e-5)
    job.trial.delete()
    trainers = []

    class StopAt(Control):
        def should_stop(self):
            return bool(trainers) and trainers[0].counters.step >= 4

    with pytest.MonkeyPatch.context() as patch:
        start = Trainer.run
        patch.setattr(Trainer, "run", lambda self: (trainers.append(self), start(self))[1])
        assert not job.work(StopAt())
    assert [one["step"] for one in read_dynamics(path)] == [0, 3, 4]
    assert job.work(Control())
    assert read_dynamics(path) == records


def text_section(source: Path) -> dict:
    corpus = {"source": str(source), "validation_fraction": 0.2, "test_fraction": 0.1}
    return {"arms": ["gru"], "corpus": corpus}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "memory"
    with ThisProcess() as pool:
        list(make_comparison(folder, "all").run(pool))
    return folder


def make_comparison(folder: Path, keep: str) -> MemoryComparison:
    recall = {"arms": ["rnn"], "lags": [2], "keys": 3, "letters": 4, "strings": 60}
    config = make_config(learning_rates=[1e-2], experiments={"recall": recall})
    return MemoryComparison(config, folder, "memory", ["compare"], keep=keep)


@pytest.mark.parametrize(("keep", "files"), [("all", 3), ("weights", 1), ("nothing", 0)])
def test_pruned_runs_are_complete(measured, tmp_path, monkeypatch, keep, files):
    folder = tmp_path / "memory"
    shutil.copytree(measured, folder)
    monkeypatch.setattr(Trainer, "__init__", lambda *_: pytest.fail("trained again"))
    before = make_comparison(folder, keep).size_on_disk()
    for _ in range(2):
        with ThisProcess() as pool:
            list(make_comparison(folder, keep).run(pool))
        counts = {len(list(path.glob("checkpoints/*"))) for path in (folder / "cells").iterdir()}
        assert counts == {files}
    assert (make_comparison(folder, keep).size_on_disk() < before) == (keep != "all")
    make_comparison(folder, keep).write(folder / "report")


def test_new_measurement_of_a_run_without_weights_raises(measured, tmp_path):
    folder = tmp_path / "memory"
    shutil.copytree(measured, folder)
    with ThisProcess() as pool:
        list(make_comparison(folder, "nothing").run(pool))
    path = next((folder / "cells").iterdir())
    job = MeasurementJob(path, "answers", {"task": TASK, "strings": 7})
    with pytest.raises(UserError, match=r"has no weights any more \(--keep nothing\).*Delete this folder"):
        job.work(Control())
    shutil.rmtree(path)
    with ThisProcess() as pool:
        list(make_comparison(folder, "weights").run(pool))
    assert (path / "checkpoints" / "best.safetensors").exists()


def test_initializations_stand_for_their_arm():
    config = make_config()
    assert config.trained(["rnn", "lstm", "lstm, b"]) == ["rnn", "lstm, a", "lstm, b"]
    assert config.trained_by_name()["lstm, b"] == ["lstm, b"]
    model = config.run_config("recall", "lstm, b", CorpusConfig(source="any"), 1e-2, 1).model
    assert (model.cell, model.forget_bias) == ("lstm", 5)
