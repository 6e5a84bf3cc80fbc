"""Sweeps: trials that stop at rungs and are resumed, their standings, and what is kept."""

from __future__ import annotations

import json
import math

import pytest

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import load_config, load_sweep
from charlstm.errors import UserError
from charlstm.jobs.base import Stopped
from charlstm.jobs.processes import Processes
from charlstm.jobs.this_process import ThisProcess
from charlstm.runs.directory import RunDirectory
from charlstm.sweep.outcome import Evaluation, Outcome, read_outcome
from charlstm.sweep.report import best_of, record, table, write_report
from charlstm.sweep.sweep import Sweep
from charlstm.training import divergence
from charlstm.training.trainer import Trainer

FILE = """\
corpus: {{source: {source}}}
model: {{hidden_size: 6, front_end: one_hot}}
training:
  batch_size: 4
  sequence_length: 20
  warmup_steps: 2
  precision: float32
  device: cpu
  budget: {{steps: 20}}
space:
  training.learning_rate: {{min: 1e-3, max: 3e-1, scale: log}}
  model.cell: [lstm, rnn]
trials: 6
"""


@pytest.fixture
def make_sweep(corpus_file, tmp_path):
    """A sweep in the folder of this test, with changes as ``--set`` takes them."""

    def make(*changes, overwrite=False, keep="weights", folder="tiny"):
        file = tmp_path / "tiny.yaml"
        file.write_text(FILE.format(source=corpus_file), encoding="utf-8")
        sweep = Sweep(load_sweep(file, changes), tmp_path / folder, tmp_path, overwrite, keep)
        sweep.prepare()
        return sweep

    return make


def run(sweep, pool=None):
    """The completed steps."""
    with pool or ThisProcess() as workers:
        return [step for step in sweep.run(workers) if step.done]


def run_until(sweep, completed):
    """Request a stop after so many completed jobs."""
    with ThisProcess() as pool:
        for number, _ in enumerate((step for step in sweep.run(pool) if step.done), start=1):
            if number == completed:
                pool.request_stop()


def nats(sweep):
    return {one.number: (one.state, one.tenths, list(one.nats)) for one in sweep.standings()}


def evaluations(directory):
    return [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in directory.metrics()
        if record["kind"] == "evaluation"
    ]


def test_promoted_runs_equal_runs_that_were_never_stopped(make_sweep, tmp_path, corpus):
    sweep = make_sweep(keep="all")
    steps = run(sweep)
    assert [(step.phase, step.done, step.total) for step in steps] == [
        *(("to 10%", n, 6) for n in range(1, 7)),
        ("to 30%", 1, 2),
        ("to 30%", 2, 2),
        ("to 100%", 1, 1),
    ]
    best = sweep.standings()[0]
    trial = sweep.trial(best.number, 0)
    alone = RunDirectory(tmp_path / "alone")
    alone.create(trial.config)
    trainer = Trainer(trial.config, corpus, alone)
    trainer.evaluations.scores_training_split = False
    assert list(trainer.run())[-1].best_nats == best.mean_nats
    assert evaluations(trial.directory) == evaluations(alone)
    tensors, other = (load_checkpoint(directory.last)[0] for directory in (trial.directory, alone))
    assert tensors.keys() == other.keys()
    assert all((tensors[name] == other[name]).all() for name in tensors)


def test_best_at_each_rung_go_on(make_sweep):
    sweep = make_sweep("rungs=[0.2, 0.5]", "reduction_factor=2")
    run(sweep)
    standings = sweep.standings()
    assert [(one.state, one.tenths, one.steps) for one in standings] == [
        *[("finished", 10, 20)] * 2,
        ("stopped", 5, 10),
        *[("stopped", 2, 4)] * 3,
    ]
    at_first = {
        number: min(e["nats"] for e in evaluations(sweep.trial(number, 0).directory)[:2]) for number in range(1, 7)
    }
    assert {one.number for one in standings[:3]} == set(sorted(at_first, key=at_first.get)[:3])
    for one in standings[3:]:
        assert one.mean_nats == at_first[one.number]
    assert standings[0].mean_nats <= standings[1].mean_nats


@pytest.mark.parametrize("keep", ["weights", "nothing"])
def test_changed_text_is_not_mixed_with_earlier_scores(make_sweep, corpus_file, tmp_path, keep):
    text, copy, other = (tmp_path / f"{name}.txt" for name in ("text", "copy", "other"))
    for path in (text, copy):
        path.write_bytes(corpus_file.read_bytes())
    other.write_text("another text\n" * 500, encoding="utf-8")
    run(make_sweep("trials=2", f"corpus.source={text}", keep=keep))
    record = (tmp_path / "tiny/sweep.yaml").read_bytes()
    with pytest.raises(UserError, match=r"other\.txt, another text"):
        make_sweep("trials=2", f"corpus.source={other}", keep=keep)
    assert (tmp_path / "tiny/sweep.yaml").read_bytes() == record
    assert run(make_sweep("trials=2", f"corpus.source={copy}", keep=keep))
    text.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match="whose content has changed"):
        make_sweep("trials=3", f"corpus.source={text}", keep=keep)


def test_interrupted_sweep_ends_like_an_uninterrupted_one(make_sweep):
    whole = make_sweep(folder="whole")
    run(whole)
    for completed in (2, 5, 7):
        sweep = make_sweep()
        with pytest.raises(Stopped):
            run_until(sweep, completed)
        assert any(one.state == "incomplete" for one in sweep.standings())
    sweep = make_sweep()
    run(sweep)
    assert nats(sweep) == nats(whole)


def test_stop_amid_a_run_is_resumed(make_sweep, monkeypatch):
    whole = make_sweep(folder="whole")
    run(whole)
    sweep = make_sweep()
    pool, step = ThisProcess(), Trainer._step

    def stop_at_step_9(trainer):
        if trainer.counters.step == 9:
            pool.request_stop()
        return step(trainer)

    monkeypatch.setattr(Trainer, "_step", stop_at_step_9)
    with pytest.raises(Stopped):
        run(sweep, pool)
    monkeypatch.undo()
    assert [one.state for one in sweep.standings()].count("incomplete") == 1
    run(make_sweep())
    assert nats(sweep) == nats(whole)


@pytest.mark.slow  # it starts processes
def test_several_processes_give_the_same_result(make_sweep):
    one, several = make_sweep(folder="one"), make_sweep(folder="several")
    run(one)
    run(several, Processes(2))
    assert nats(one) == nats(several)


def test_score_is_the_mean_over_seeds(make_sweep):
    sweep = make_sweep("seeds=2", "trials=3", "training.seed=4")
    run(sweep)
    best = best_of(sweep.standings())
    assert best is not None
    scores = [min(e["nats"] for e in evaluations(sweep.trial(best.number, seed).directory)) for seed in (0, 1)]
    assert list(best.nats) == scores
    assert best.mean_nats == pytest.approx(sum(scores) / 2)
    assert sweep.trial(best.number, 1).directory.path.name == f"trial-{best.number}-seed5"
    rows = table(sweep.standings(), list(sweep.config.space), "character")
    assert rows[0] == [
        "trial", "learning_rate", "cell", "bits per character", "lowest to highest", "seeds", "steps", "state",
    ]  # fmt: skip
    low, high = sorted(score / math.log(2) for score in scores)
    assert rows[1][4] == f"{low:.3f} to {high:.3f}"


def test_diverged_trial_is_never_the_best(make_sweep, monkeypatch):
    monkeypatch.setattr(divergence, "HIGH_LOSS_STEPS", 1)
    sweep = make_sweep("space={training.learning_rate: [1e-2, 1e6], training.clip_grad_norm: [null]}", "trials=null")
    run(sweep)
    good, bad = sweep.standings()
    assert (good.state, bad.state) == ("finished", "diverged")
    assert bad.candidate["training.learning_rate"] == 1e6
    assert table([bad], ["training.learning_rate"], "character")[1] == [
        "2",
        "1e+06",
        "-",
        "1",
        str(bad.steps),
        "diverged",
    ]


@pytest.mark.parametrize(
    ("outcome", "tenths", "nats"),
    [
        (Outcome(), 1, None),
        (Outcome((Evaluation(0.1, 2, 3.0), Evaluation(0.3, 6, 3.5))), 1, 3.0),
        (Outcome((Evaluation(0.1, 2, 3.0), Evaluation(0.3, 6, 3.5))), 3, 3.0),
        (Outcome((Evaluation(0.1, 2, 3.0), Evaluation(0.3, 6, 2.5))), 1, 3.0),
        (Outcome((Evaluation(0.1, 2, 3.0),)), 3, None),
        (Outcome((Evaluation(0.1, 2, 3.0),), "stopped"), 3, None),
        (Outcome((Evaluation(0.1, 2, 3.0),), "diverged"), 3, math.inf),
        (Outcome((Evaluation(0.1, 2, 3.0),), "diverged"), 1, 3.0),
        (Outcome((Evaluation(0.5, 2, 2.0), Evaluation(1.0, 4, 40.0)), "diverged"), 10, math.inf),
        (Outcome((), "diverged"), 1, math.inf),
        (Outcome((Evaluation(0.1, 2, 3.0),), "early_stopping"), 10, 3.0),
        (Outcome((Evaluation(1.0, 20, 3.0),)), 10, None),
        (Outcome((Evaluation(1.0, 20, 3.0),), "budget"), 10, 3.0),
    ],
)
def test_score_at_a_rung(outcome, tenths, nats):
    assert outcome.nats(tenths) == nats


def test_evaluations_of_a_budget_in_epochs_are_read(tmp_path, make_config):
    directory = RunDirectory(tmp_path)
    position = {"characters": 100, "seconds": 9.0}
    for step, epoch, nats in ((3, 0.5, 2.0), (6, 1.0, None), (9, 1.5, 1.0)):
        scores = {"nats": nats, "training_split_nats": 3.0}
        directory.append_metrics({"kind": "evaluation", "step": step, "epoch": epoch, **scores, **position})
    training = make_config(budget={"epochs": 5, "steps": 90}).training
    assert read_outcome(directory, training) == Outcome((Evaluation(0.1, 3, 2.0), Evaluation(0.3, 9, 1.0)))


def test_number_of_trials_may_grow(make_sweep):
    sweep = make_sweep(keep="all")
    run(sweep)
    untouched = {number: sweep.trial(number, 0).directory.last.stat().st_mtime_ns for number in range(1, 7)}
    larger = make_sweep("trials=8", keep="all")
    steps = run(larger)
    assert len(larger.standings()) == 8
    assert [step.total for step in steps if step.phase == "to 10%"] == [8] * 8
    again = {number: larger.trial(number, 0).directory.last.stat().st_mtime_ns for number in range(1, 7)}
    assert sum(untouched[number] != again[number] for number in untouched) <= 2  # those that are promoted now
    with pytest.raises(UserError, match="trials was 8, is 6"):
        make_sweep()


def test_changed_settings_are_refused_with_the_way_out(make_sweep):
    run(make_sweep("trials=2"))
    with pytest.raises(UserError, match=r"model\.hidden_size was 6, is 7.*--name NAME.*--overwrite"):
        make_sweep("trials=2", "model.hidden_size=7")
    with pytest.raises(UserError, match=r"space\.training\.learning_rate\.max was 0\.3, is 0\.2"):
        make_sweep("space={training.learning_rate: {min: 1e-3, max: 2e-1, scale: log}, model.cell: [lstm, rnn]}")


def test_overwrite_deletes_the_runs(make_sweep, tmp_path):
    run(make_sweep())
    sweep = make_sweep("trials=2", "model.hidden_size=7", overwrite=True)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["sweep.yaml"]
    run(sweep)
    assert len(sweep.standings()) == 2


def test_folder_of_something_else_is_refused(make_sweep, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.yaml").write_text("a run", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="is not the folder of a sweep"):
            make_sweep(overwrite=overwrite)
    assert (tmp_path / "tiny" / "config.yaml").exists()


@pytest.mark.parametrize(("keep", "kept"), [("all", 6), ("weights", 1), ("nothing", 0)])
def test_checkpoints_that_are_kept(make_sweep, keep, kept):
    sweep = make_sweep(keep=keep)
    run(sweep)
    directories = [sweep.trial(number, 0).directory for number in range(1, 7)]
    assert sum(directory.checkpoints.exists() for directory in directories) == kept
    before = nats(sweep)
    assert run(sweep)[-1].phase == "to 100%"
    assert nats(sweep) == before


def test_promoted_run_without_checkpoints_is_trained_again(make_sweep):
    whole = make_sweep("reduction_factor=2", folder="whole")
    run(whole)
    sweep = make_sweep("reduction_factor=2", "trials=3")
    run(sweep)
    larger = make_sweep("reduction_factor=2")
    run(larger)
    assert nats(larger) == nats(whole)


def test_best_configuration_is_that_of_the_best_trial(make_sweep):
    sweep = make_sweep()
    run(sweep)
    best = best_of(sweep.standings())
    assert best is not None
    written = load_config(sweep.write_best(best))
    trial = sweep.trial(best.number, 0).config
    assert written.name == "tiny-best"
    assert written.training.sample_length == 200
    fields = {"sample_length": 0, "evaluation_characters": "all"}
    settings = {"name": None, "training": written.training.model_copy(update=fields)}
    assert written.model_copy(update=settings) == trial


def test_report_has_a_plot_for_each_field(make_sweep, tmp_path, undrawn_plots):
    sweep = make_sweep()
    run(sweep)
    with undrawn_plots("png", "svg"):
        files = write_report(sweep, sweep.standings(), "charlstm sweep tiny.yaml", tmp_path / "report")
    assert {file.name for file in files} == {
        "index.html",
        "report.json",
        "score-by-training-learning-rate.png",
        "score-by-model-cell.png",
        "learning-curves.png",
    }
    page = files[0].read_text(encoding="utf-8")
    assert "could not be drawn" not in page
    assert "The best of 6 candidates is trial" in page
    saved = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert saved["best_trial"] == sweep.standings()[0].number
    assert saved["trials"] == json.loads(json.dumps(record(sweep, sweep.standings())["trials"]))
    assert [trial["state"] for trial in saved["trials"]] == ["finished", *["stopped"] * 5]


def test_settings_that_cannot_be_trained_leave_no_folder(make_sweep, tmp_path):
    with pytest.raises(UserError, match="no file of that name"):
        make_sweep(f"corpus.source={tmp_path}/no.txt")
    with pytest.raises(UserError, match="executor vendor cannot run"):
        make_sweep("model={cell: leaky, executor: vendor}", "space={model.hidden_size: [4, 6]}", "trials=2")
    assert not (tmp_path / "tiny").exists()


def test_rungs_of_a_budget_in_minutes(make_sweep):
    sweep = make_sweep("training.budget={minutes: 0.001}", "trials=3")
    run(sweep)
    best, *others = sweep.standings()
    assert best.state == "finished"
    assert all(one.state == "stopped" for one in others)
