"""Memory comparisons: every experiment, tiny, from its configuration to its report."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from charlstm.api import load
from charlstm.comparison.intervals import bounded_mean_bounds
from charlstm.comparison.training_job import TrainingJob
from charlstm.config import Config, MemoryConfig, load_comparison
from charlstm.errors import UserError
from charlstm.jobs.base import Control, Stopped
from charlstm.jobs.processes import Processes
from charlstm.jobs.this_process import ThisProcess
from charlstm.memory.claims import CLAIMS, changes
from charlstm.memory.comparison import MemoryComparison
from charlstm.memory.grid import Grid
from charlstm.memory.groups import Outcome, RunGroup
from charlstm.memory.measures import MEASURES
from charlstm.memory.method import method
from charlstm.memory.overwriting import delete_results
from charlstm.memory.schemas import SCHEMAS, read_measurement
from charlstm.memory.state_measures import untrained
from charlstm.memory.task_measures import TEST_SEED, make_task
from charlstm.runs.directory import RunDirectory
from charlstm.runs.lock import LockedError
from charlstm.training.trainer import Trainer

TINY = """\
# all experiments, tiny
seeds: 2
search_seeds: 1
widenings: 0
learning_rates: [1.0e-2, 2.0e-2]
test_strings: 30
shared:
  model: {{hidden_size: 6, embedding_size: 4, unigram_bias: false}}
  training:
    batch_size: 8
    sequence_length: 64
    schedule: constant
    warmup_steps: 0
    precision: float32
    device: cpu
    evaluate_every: 3
    sample_length: 0
    budget: {{steps: 6}}
arms:
  lstm: {{model: {{cell: lstm, forget_bias: chrono, chrono_length: 10}}}}
  rnn:
    model.cell: rnn
    initializations:
      uniform: {{}}
      relu: {{model: {{nonlinearity: relu, identity_scale: 1}}}}
  wide: {{model: {{cell: rnn, hidden_size: 6}}}}
  cut: {{model: {{cell: lstm, ablate: cell_gradient}}}}
  rescued: {{model.cell: rnn, training.vanishing_penalty: 2}}
experiments:
  recall:
    arms: [lstm, rnn, wide]
    lags: [2, 5]
    mixed_lags: [2]
    keys: 3
    letters: 4
    strings: 60
    settings: {{training.budget.target_nats: 0.05}}
    claims:
      - {{statement: It recalls, metric: longest lag, arm: lstm, at_least: 5}}
      - {{statement: It makes errors, metric: accuracy at lag 5, arm: rnn, at_most: 0.999}}
  gradient:
    arms: [lstm, rnn]
    lag: 5
    depth: 6
    texts: 5
    training_texts: 2
    cut_arms: [lstm, cut]
    cut_lags: [2]
    claims:
      - {{statement: It reaches back, metric: depth on recall, arm: lstm, at_least: 0}}
  surgery:
    lag: 5
    pairs: 10
  gates:
    continual_arms: [lstm, rnn]
    reber_arms: [lstm]
    recall_arms: [rnn]
    recall_lag: 2
    characters: 1000
    test_characters: 300
    strings: 50
  counting:
    arms: [lstm]
    letters: [ab, abc]
    longest: 5
    tested: [1, 2, 5]
    strings: 50
  order:
    arms: [lstm, rescued]
    lengths: [12]
    strings: 60
  text:
    arms: [lstm, rnn]
    corpus: {{source: {corpus}, test_fraction: 0.2}}
    context_lengths: [0, 1, 5]
    targets: 100
    ngram: 2
    far_lengths: [1]
    dependency_positions: 50
    passage_characters: 200
    ablated_arms: [lstm]
    search: {{training.budget.steps: 2}}
    capacity_delays: 3
    gradient_depth: 6
    training_steps: [0, 3]
    gate_arms: [lstm]
  copying:
    arms: [lstm]
    lags: [3]
    length: 2
    symbols: 3
    strings: 60
  sentences:
    arms: [lstm]
    filler_en: {{source: {corpus}}}
    kinds: [control]
    distances: [5]
    strings: 60
    settings: {{training.sequence_length: 128}}
quick:
  - seeds=1
  - experiments.counting=null
"""

EXPERIMENTS = ["recall", "gradient", "surgery", "gates", "counting", "order", "text", "copying", "sentences"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(1)
    words = ["the cat", "a dog", "(so it is)", "[one (or two)]", '"yes"', "end."]
    lines = [" ".join(rng.choice(words, 6)) for _ in range(120)]
    (folder / "prose.txt").write_text("\n".join(lines))
    (folder / "memory.yaml").write_text(TINY.format(corpus=folder / "prose.txt"))
    return folder


def make_comparison(texts: Path, folder: Path, *overrides: str, only=(), quick=False) -> MemoryComparison:
    config = load_comparison(texts / "memory.yaml", overrides, quick)
    assert isinstance(config, MemoryConfig)
    return MemoryComparison(config, folder, "memory", ["compare", "memory.yaml"], only)


@pytest.fixture(autouse=True, scope="module")
def _no_rendering(undrawn_plots):
    with undrawn_plots("png", "svg"):
        yield


@pytest.fixture(autouse=True, scope="module")
def _train_longer_lags():
    """No lag is left out, although these runs are too short to learn anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlstm.memory.grid.LEARNED", 100.0)
        yield


@pytest.fixture(scope="module")
def done(texts, tmp_path_factory) -> Path:
    """The folder of the complete comparison."""
    folder = tmp_path_factory.mktemp("runs") / "memory"
    comparison = make_comparison(texts, folder)
    with ThisProcess() as pool:
        steps = list(comparison.run(pool))
    assert {step.phase for step in steps} == {"training", "measuring"}
    measuring = [step for step in steps if step.phase == "measuring"]
    assert [step.done for step in measuring] == list(range(1, len(measuring) + 1))
    assert {step.total for step in measuring} == {len(measuring)}
    training = [step for step in steps if step.phase == "training"]
    assert [step.done for step in training] == list(range(1, len(training) + 1))
    assert training[-1].total == len(training)
    comparison.write(folder / "report")
    return folder


@pytest.mark.slow
def test_rendered_report_shows_no_nan(texts, done, tmp_path, undrawn_plots):
    with undrawn_plots():
        make_comparison(texts, done).write(tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    page = (tmp_path / "index.html").read_text()
    assert "nan" not in re.sub(r"<[^>]*>", " ", page.split("</style>")[1]).lower().split()


def test_each_experiment_has_section_plots_and_command(done):
    page = (done / "report" / "index.html").read_text()
    record = json.loads((done / "report" / "report.json").read_text())
    for name in EXPERIMENTS:
        assert f"charlstm compare memory.yaml --only {name}" in page
    assert len(record["sections"]) == len(EXPERIMENTS)
    assert {arm: list(curve) for arm, curve in record["sections"]["real-text"]["learning"].items()} == {
        arm: ["1536", "3072"] for arm in ("lstm", "rnn")
    }
    names = {path.stem for path in (done / "report").glob("*.png")}
    assert {"recall-over-lag", "gradient-on-recall", "gradient-on-text", "depth-in-training"} <= names
    assert "depth-on-text-in-training" in names
    assert {
        "ablations-continual-reber",
        "ablations-recall-at-2",
        "half-lives",
        "gate-map-lstm",
        "saturation-lstm",
        "order-and-adding",
    } <= names
    assert {"loss-over-context", "copying"} <= names
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "<script" not in page
    assert "nan" not in re.sub(r"<[^>]*>", " ", page.split("</style>")[1]).lower().split()


def test_metrics_of_an_arm_are_those_of_its_best_initialization(texts, done):
    recall = make_comparison(texts, done, only=["recall"])._experiments["recall"]
    metrics = recall.result().metrics
    for lag in (2, 5):
        initialization = f"rnn, {recall.initialization(lag, 'rnn')}"
        assert initialization in recall.arms
        for name in ("solved", "accuracy", "seeds above chance"):
            assert metrics[f"{name} at lag {lag}", "rnn"] == metrics[f"{name} at lag {lag}", initialization]
    names = {name for name, arm in metrics if arm == "rnn"}
    assert {"mixed: solved at lag 2"} <= names <= set(recall.metric_names())


def test_tests_at_longer_lags_are_of_the_seeds_that_solve_the_shorter_one(texts, done, monkeypatch):
    comparison = make_comparison(texts, done, "experiments.recall.longer_lags=[9]", only=["recall"])
    recall = comparison._experiments["recall"]
    assert "solved at lag 9 trained at lag 5" in recall.metric_names()
    results = [{"5": 1.0, "9": accuracy} for accuracy in (1.0, 0.5, 1.0)]
    monkeypatch.setattr(
        recall, "_longer_jobs", lambda *_: [SimpleNamespace(result=lambda one=one: one) for one in results]
    )
    monkeypatch.setattr(recall, "_fractions", lambda _, arm: [1.0, 1.0, 0.9] if arm == "lstm" else [0.1] * 3)
    seeds = recall._seeds_at_longer_lags()
    assert seeds == {(2, 5, "lstm"): (2, 2), (2, 9, "lstm"): (1, 2), (5, 9, "lstm"): (1, 2)}, "no seed of the others"
    of_rnn = recall._longer_plot({(2, 5, "rnn"): (0, 2)})
    assert re.search("rnn, (uniform|relu), 2 → 5: 0 of 2", of_rnn.alt), "which initialization it is"


def test_lag_that_is_not_trained_is_reported_with_the_reason(texts, done, monkeypatch):
    monkeypatch.setattr("charlstm.memory.grid.LEARNED", 0.0)
    recall = make_comparison(texts, done, only=["recall"])._experiments["recall"]
    result = recall.result()
    metric = result.metrics["solved at lag 5", "lstm"]
    assert (metric.value, metric.text) == (0, "not trained: no seed learned lag 2")
    assert math.isnan(metric.high), "no claim about it is decided"
    assert "not trained" in [row[-1] for row in result.section.tables[1].rows]
    assert ("accuracy at lag 5", "lstm") not in result.metrics


def test_arm_is_trained_at_a_lag_that_a_claim_is_about(texts, done, monkeypatch):
    monkeypatch.setattr("charlstm.memory.grid.LEARNED", 0.0)
    claims = (
        "[{statement: a, metric: solved at lag 5, arm: wide, at_most: 0.5},"
        " {statement: b, metric: solved at lag 9 trained at lag 5, arm: lstm, at_most: 0.5},"
        " {statement: c, metric: 'mixed: solved at lag 5', arm: 'rnn, uniform', at_most: 0.5},"
        " {statement: d, metric: solved at lag 5, arm: rnn, at_most: 0.5}]"
    )
    changes = (f"experiments.recall.claims={claims}", "experiments.recall.longer_lags=[9]")
    recall = make_comparison(texts, done, *changes)._experiments["recall"]
    hopeless = {arm: recall._grid.is_hopeless(group) for arm, group in recall._groups[5].items()}
    assert hopeless == {"lstm": False, "wide": False, "rnn": True, "rnn, uniform": True, "rnn, relu": True}


def test_order_is_trained_at_a_length_that_a_claim_is_about(texts, done, monkeypatch):
    monkeypatch.setattr("charlstm.memory.grid.LEARNED", 0.0)
    lengths = "experiments.order.lengths=[10, 12]"
    order = make_comparison(texts, done, lengths, only=["order"])._experiments["order"]
    (arm, *_), name = order._groups["adding 12"], "adding 12"
    assert order._grid.is_hopeless(order._groups[name][arm]) is not False
    claims = f"[{{statement: a, metric: {name} solved, arm: {arm}, at_most: 0.5}}]"
    order = make_comparison(texts, done, lengths, f"experiments.order.claims={claims}")._experiments["order"]
    assert order._grid.is_hopeless(order._groups[name][arm]) is False
    assert order._groups["temporal order 12"][arm].previous is not None


def test_gradient_before_training_is_also_measured_where_a_lag_was_not_trained(texts, done, monkeypatch):
    monkeypatch.setattr("charlstm.memory.grid.LEARNED", 0.0)
    metrics = make_comparison(texts, done, only=["gradient"])._experiments["gradient"].result().metrics
    assert ("depth on recall before training", "lstm") in metrics
    assert ("depth on recall", "lstm") not in metrics


def test_surgery_is_of_networks_that_solve_the_lag(texts, done):
    _, document = make_comparison(texts, done, "solve_threshold=0.05").write(done / "lower")
    (surgery,) = [section for section in document.sections if section.title == "State surgery"]
    assert [figure.name for figure in surgery.figures] == ["state-surgery"]
    cells = {(row[1], row[2]) for row in surgery.tables[0].rows}
    assert cells == {(f"{part} exchanged", "2/2") for part in ("nothing", "c", "h", "ch")}
    for row in surgery.tables[0].rows:  # the plot shows what the table does, at half of the lag
        (shown,) = re.findall(rf" {row[1]}, {row[0]}: ([\d.]+)%", surgery.figures[0].alt)
        assert float(shown) == pytest.approx(float(row[4].split("%")[0]), abs=0.06)


def test_verdicts_follow_from_metrics(done, texts):
    record = json.loads((done / "report" / "report.json").read_text())
    claims = {verdict["claim"]: verdict for verdict in record["verdicts"]}
    accuracies = record["sections"]["recall-over-a-lag"]["shares"]
    assert claims["It recalls"]["verdict"] in ("held", "not held", "undecided")
    low, high = bounded_mean_bounds([seed[1] for seed in accuracies["rnn"]])
    assert claims["It makes errors"]["verdict"] == ("held" if high <= 0.999 else "undecided")
    mean = np.mean([seed[1] for seed in accuracies["rnn"]])
    assert claims["It makes errors"]["measured"] == f"{100 * mean:.1f}%".replace(".0%", "%")
    assert claims["It makes errors"]["interval"].startswith(f"2 seeds with 30 strings: {100 * low:.1f}%")
    assert claims["It recalls"]["criterion"] == "lstm: longest lag at least 5"
    assert record["config_sha256"] == json.loads((done / CLAIMS).read_text())["configuration_sha256"]


def test_claim_about_a_length_that_is_not_measured_is_announced(texts, done):
    claim = "[{statement: It recalls more, metric: longest lag, arm: lstm, at_least: 5}, {statement: It recalls, "
    changes = f"experiments.recall.claims={claim}metric: solved at lag 7, arm: lstm, at_least: 0.5}}]"
    *_, line = make_comparison(texts, done, changes).describe()
    assert line == (
        "experiments.recall: 'solved at lag 7' is not measured with these settings, so this claim will not be judged: "
        "It recalls"
    )
    assert len(make_comparison(texts, done).describe()) == 1
    quick = load_comparison(texts / "memory.yaml", [changes])
    full = MemoryComparison(quick, done, "memory", ["compare", "memory.yaml"], full=quick)
    assert len(full.describe()) == 1, "--quick says itself what it does not judge"


def test_claims_about_real_text_are_judged(texts, done, tmp_path):
    claims = (
        "[{statement: a, metric: 'bits minus rnn: closing bracket, 1 to 9 characters', arm: lstm, at_most: 1e6},"
        " {statement: b, metric: bits lost beyond 1 characters, arm: rnn, at_most: -1e6},"
        " {statement: c, metric: 'bits minus rnn: speaker, 20 to 49 characters', arm: lstm, at_most: 1e6}]"
    )
    comparison = make_comparison(texts, done, f"experiments.text.claims={claims}", only=["text"])
    assert len(comparison.describe()) == 1
    _, document = comparison.write(tmp_path / "report")
    words = {verdict.claim: verdict.word for verdict in document.verdicts}
    assert (words["a"], words["b"]) == ("undecided", "undecided"), "two seeds have no interval"
    assert words["c"] == "not run", "the text has no speakers"


def test_readouts_that_start_differently_are_announced(texts, tmp_path):
    """An LSTM starts with the frequencies by default, which the file of these tests sets to false."""
    comparison = make_comparison(texts, tmp_path, only=["text"])
    assert not any("unigram_bias" in line for line in comparison.describe())
    shared = comparison.config.shared["model"]
    del shared["unigram_bias"]
    lines = MemoryComparison(comparison.config, tmp_path / "other", "memory", ["compare"], ["text"]).describe()
    assert any(line.endswith("--set shared.model.unigram_bias=false") for line in lines)


@pytest.mark.parametrize(("arm", "diverged"), [("rnn", (2,)), ("rnn", (1, 2)), ("lstm", (1, 2))])
def test_diverged_judged_run_is_left_out_and_its_arm_is_not_judged(texts, done, tmp_path, monkeypatch, arm, diverged):
    outcome = Grid.outcome

    def changed(grid: Grid, group: RunGroup, rate: float, seed: int) -> Outcome | None:
        known = outcome(grid, group, rate, seed)
        is_changed = group.dataset.name == "text" and group.arm.startswith(arm) and seed in diverged
        return replace(known, diverged=True) if known is not None and is_changed else known

    monkeypatch.setattr(Grid, "outcome", changed)
    claims = (
        "[{statement: other, metric: bits minus rnn, arm: lstm, at_most: 1e6},"
        " {statement: own, metric: depth on text, arm: rnn, at_most: 1e6}]"
    )
    comparison = make_comparison(texts, done, f"experiments.text.claims={claims}", only=["text"])
    for job in comparison._experiments["text"].measurement_jobs():
        assert job.done() or job.work(Control())
    _, document = comparison.write(tmp_path / "report")
    (section,) = [one for one in document.sections if one.title == "Real text"]
    verdicts = {
        one.claim: (one.word, one.interval or one.reason) for one in document.verdicts if one.claim in ("other", "own")
    }
    runs = section.tables[-1]
    seeds = ", ".join(f"seed {seed}" for seed in diverged)
    assert [row[runs.header.index("diverged")] for row in runs.rows] == [
        seeds if name == arm else "none" for name in ("lstm", "rnn")
    ]
    assert section.paragraphs[0].startswith(f"Training diverged for {arm} (seed {', '.join(map(str, diverged))}). ")
    if diverged == (2,):
        assert verdicts == dict.fromkeys(("other", "own"), ("undecided", "1 of 2 seeds without a value"))
        record = json.loads((tmp_path / "report" / "report.json").read_text())["verdicts"]
        assert {(one["interval"], one["reason"]) for one in record if one["claim"] in verdicts} == {
            ("", "1 of 2 seeds without a value")
        }
        jobs = [job.path.name for job in comparison._experiments["text"]._compared_parts()[1].measurement_jobs()]
        assert {name[-5:] for name in jobs if "rnn" in name} == {"seed1"}
        assert {name[-5:] for name in jobs if "lstm" in name} == {"seed1", "seed2"}
    elif arm == "rnn":
        assert verdicts == dict.fromkeys(("other", "own"), ("not run", ""))
        assert section.parts == [], "the baseline is missing"
    else:
        assert (verdicts["other"], verdicts["own"][0]) == (("not run", ""), "undecided"), "two seeds have no interval"
        rows = [row[0] for part in section.parts for table in part.tables for row in table.rows]
        assert "rnn" in rows
        assert not [row for row in rows if row.startswith("lstm")]


def test_diverged_run_has_no_gain_in_copying(texts, done, monkeypatch):
    monkeypatch.setattr(Grid, "diverged_seeds", lambda *_: [1])
    result = make_comparison(texts, done, only=["copying"])._experiments["copying"].result()
    metric = result.metrics["gain at lag 3", "lstm"]
    assert metric.reason == "1 of 2 seeds without a value"
    assert result.section.data["nats"]["lstm"][0][0] is None


def test_claims_of_other_experiments_are_not_measured(texts, tmp_path):
    comparison = make_comparison(texts, tmp_path / "memory", only=["surgery"])
    with ThisProcess() as pool:
        list(comparison.run(pool))
    files, document = comparison.write(tmp_path / "report")
    assert [verdict.word for verdict in document.verdicts] == ["not run"] * 3
    assert [section.title for section in document.sections] == ["State surgery", "How it was measured"]
    assert files[0] == tmp_path / "report" / "index.html"


def test_report_includes_completed_experiments(texts, done):
    _, document = make_comparison(texts, done, only=["recall"]).write(done / "again")
    assert len(document.sections) == len(EXPERIMENTS) + 1
    assert [remark for remark in document.remarks if "claim about half" not in remark] == []
    assert "not run" not in [verdict.word for verdict in document.verdicts]


def test_page_begins_with_changes_and_ends_with_revised_claims(texts, done, tmp_path):
    revised = "revised=[{claim: It copies, result: not held, now: dropped, why: the budget was too short}]"
    _, document = make_comparison(texts, done, revised, "min_seed_fraction=0.8").write(tmp_path)
    assert "Changed after the first run: min_seed_fraction was 0.5, now 0.8." in document.remarks
    assert document.sections[-1].title == "Revised claims"
    assert document.sections[-1].tables[0].rows == [["It copies", "not held", "dropped", "the budget was too short"]]


@pytest.mark.parametrize("broken", ["pipe", "not JSON", "loop"])
def test_unreadable_claims_raise(texts, done, tmp_path, broken):
    comparison, file = make_comparison(texts, tmp_path, only=["copying"]), tmp_path / CLAIMS
    if broken == "pipe":
        os.mkfifo(file)
    elif broken == "loop":
        file.symlink_to(file)
    else:
        file.write_text("[" * 5000)
    with pytest.raises(UserError, match=r"claims\.json"):
        changes(comparison.config, tmp_path)


def test_measurement_files_match_their_schemas(done):
    assert SCHEMAS.keys() == MEASURES.keys()
    files = list(done.glob("cells/*/measured/*.json"))
    assert {read_measurement(file, measure) and measure for file in files for measure in [measure_of(file)]} == set(
        MEASURES
    )


def measure_of(file: Path) -> str:
    return file.stem.rpartition("-")[0]


BROKEN = [b"", b"5", b"null", b"{}", b"[" * 5000, b'{"accuracy": null}', b"\xff", None]


@pytest.mark.parametrize("content", BROKEN)
def test_broken_measurement_raises(tmp_path, content):
    file = tmp_path / "answers-1.json"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"answers-.*\.json"):
        read_measurement(file, "answers")


@pytest.mark.parametrize(
    "content", [c if c in (b"{}", None) else pytest.param(c, marks=pytest.mark.slow) for c in BROKEN]
)
def test_broken_measurement_is_repeated(texts, done, content):
    file = min(done.glob("cells/recall-5-lstm-*/measured/answers-*.json"))
    before = file.read_bytes()
    file.unlink()
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"answers-.*\.json"):
        read_measurement(file, "answers")
    with ThisProcess() as pool:
        list(make_comparison(texts, done, only=["recall"]).run(pool))
    assert file.read_bytes() == before


def test_other_text_with_same_name_raises(texts, done):
    with pytest.raises(UserError, match=r"recall-2.json has other settings.*--overwrite"):
        make_comparison(texts, done, "experiments.recall.strings=61")


def test_completed_jobs_are_not_repeated(texts, done, monkeypatch):
    monkeypatch.setattr(Trainer, "__init__", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("charlstm.memory.jobs.load", lambda *_: pytest.fail("measured again"))
    with ThisProcess() as pool:
        assert list(make_comparison(texts, done).run(pool))


def test_arms_match_parameters_unless_size_is_given(texts, tmp_path):
    comparison = make_comparison(texts, tmp_path, only=["recall"])
    sizes = {
        group.arm: (group.model.hidden_size, group.parameters)
        for group in comparison.run_groups()
        if "-5" in group.dataset.name
    }
    assert sizes["lstm"][0] == sizes["wide"][0] == 6
    assert sizes["rnn, uniform"][0] > 6
    assert abs(sizes["rnn, uniform"][1] - sizes["lstm"][1]) <= sizes["lstm"][1] / 10


def test_test_strings_differ_from_training_strings(done):
    lines = set((done / "texts" / "recall-5-seed1.txt").read_text().split())
    run = load(next(path for path in (done / "cells").iterdir() if path.name.startswith("recall-5-")))
    task = {"task": "Recall", "lag": 5, "keys": 3, "letters": 4}
    assert lines.isdisjoint(make_task(task).strings(30, TEST_SEED))
    assert run.config.corpus.score_after == "?"


def test_resumed_comparison_has_same_metrics(texts, done, tmp_path, monkeypatch):
    """Stop it during a run, and again between two runs."""
    one_arm = ("experiments.recall.arms=[lstm]", "experiments.recall.claims=[]", "experiments.gradient=null")

    def comparison_of_one_arm():
        return make_comparison(texts, tmp_path / "memory", *one_arm, only=["recall", "surgery"])

    for stop_at in (20, 28):
        comparison, seen = comparison_of_one_arm(), []
        with ThisProcess() as pool:
            run = Trainer._step

            def step(self, run=run, seen=seen, stop_at=stop_at, pool=pool):
                seen.append(self)
                if len(seen) == stop_at:
                    pool.request_stop()
                return run(self)

            monkeypatch.setattr(Trainer, "_step", step)
            with pytest.raises(Stopped):
                list(comparison.run(pool))
            monkeypatch.setattr(Trainer, "_step", run)
    with ThisProcess() as pool:
        list(comparison.run(pool))
    comparison.write(tmp_path / "report")
    result, expected = (
        json.loads((folder / "report.json").read_text())["sections"]["recall-over-a-lag"]
        for folder in (tmp_path / "report", done / "report")
    )
    assert result.pop("lags") == expected.pop("lags")
    assert result == {name: {"lstm": of_arms["lstm"]} for name, of_arms in expected.items()}


@pytest.mark.slow
def test_two_processes_equal_one(texts, done, tmp_path):
    comparison = make_comparison(texts, tmp_path / "memory", only=["copying"])
    with Processes(2) as pool:
        steps = list(comparison.run(pool))
    assert sum(step.phase == "training" for step in steps) == len(list((tmp_path / "memory" / "cells").iterdir()))
    assert sum(step.phase == "measuring" for step in steps) == 2
    comparison.write(tmp_path / "report")
    result, expected = (
        json.loads((folder / "report.json").read_text())["sections"]["copying-and-the-forget-bias-as-a-horizon"]
        for folder in (tmp_path / "report", done / "report")
    )
    assert np.allclose(result["nats"]["lstm"], expected["nats"]["lstm"], rtol=1e-4)


def test_other_settings_with_same_name_raise(texts, done):
    comparison = make_comparison(texts, done, "shared.training.budget.steps=7", only=["recall"])
    with ThisProcess() as pool, pytest.raises(UserError, match="was trained with other settings"):
        list(comparison.run(pool))


def test_overwrite_trains_and_measures_again(texts, done, tmp_path):
    comparison = make_comparison(texts, tmp_path / "memory", only=["copying"])
    with ThisProcess() as pool:
        list(comparison.run(pool))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "memory").glob("cells/*/measured/*")}
    delete_results(comparison.config, tmp_path / "memory", ["copying"])
    repeated = make_comparison(texts, tmp_path / "memory", only=["copying"])
    with ThisProcess() as pool:
        list(repeated.run(pool))
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "memory").glob("cells/*/measured/*")}
    assert before.keys() == after.keys()
    assert all(after[path] > before[path] for path in before)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_overwriting_deletes_runs_and_texts_of_its_experiments(texts, done, tmp_path):
    folder = Path(shutil.copytree(done, tmp_path / "memory"))
    parts = ("cells", "texts")
    kept = [path for part in parts for path in files_of(folder / part) if "copying" not in str(path)]
    delete_results(make_comparison(texts, done).config, folder, ["copying"])
    assert [path for part in parts for path in files_of(folder / part)] == kept
    assert (folder / "claims-1.json").exists()
    longer = make_comparison(texts, folder, "experiments.copying.strings=40", only=["copying"])
    with ThisProcess() as pool:
        list(longer.run(pool))


def test_overwriting_changes_nothing_while_a_run_is_trained(texts, done, tmp_path):
    folder = Path(shutil.copytree(done, tmp_path / "memory"))
    before = files_of(folder)
    (*_, last) = sorted((folder / "cells").glob("copying-*"))
    with RunDirectory(last).writing(), pytest.raises(LockedError):
        delete_results(make_comparison(texts, done).config, folder)
    assert files_of(folder) == before


def test_overwriting_keeps_runs_of_other_experiments(texts, tmp_path):
    config = make_comparison(texts, tmp_path).config
    kept = ["recall-2-lstm-0.01-seed1", "copying-30-lstm-0.01-seed1", "other-lstm-0.01-seed1"]
    deleted = ["copying-3-lstm-0.01-seed1", "copying-3-lstm-1e-05-seed1", "copying-3-lstm-2-0.01-seed3"]
    for name in [*kept, *deleted]:
        RunDirectory(tmp_path / "memory/cells" / name).create(Config(corpus={"source": "a"}))
    delete_results(config, tmp_path / "memory", ["copying"])
    assert {path.name for path in (tmp_path / "memory/cells").glob("*-seed*")} == set(kept)


def test_best_rate_has_the_lowest_score_where_none_reaches_the_target(texts, tmp_path, monkeypatch):
    outcomes = {
        1e-3: [Outcome(0.4, 0.05, 900), Outcome(0.6, 0.05, 900)],
        1e-2: [Outcome(0.3, 0.05, 900), Outcome(0.5, 0.05, 900)],
        2e-2: [Outcome(0.05, 0.05, 100, 100), Outcome(0.06, 0.05, 50, diverged=True)],
    }
    monkeypatch.setattr(Grid, "outcome", lambda _, __, rate, seed: outcomes[rate][seed - 1001])
    comparison = make_comparison(
        texts, tmp_path, "learning_rates=[1.0e-3, 1.0e-2, 2.0e-2]", "search_seeds=2", "widenings=0", only=["copying"]
    )
    (group,) = comparison.run_groups()
    assert comparison._grid.best_runs(group).learning_rate == 1e-2, "a run that diverged learned nothing"
    outcomes[1e-3][1] = Outcome(0.3, 0.05, 900)
    assert comparison._grid.best_runs(group).learning_rate == 1e-3
    assert comparison._grid.best_runs(group).paths[1].name == "copying-3-lstm-0.001-seed2"


def test_diverged_run_is_done(texts, tmp_path):
    comparison = make_comparison(texts, tmp_path, "shared.training.clip_grad_norm=null", only=["copying"])
    (group,) = comparison.run_groups()
    group.dataset.write(1)
    trial = comparison._grid.trial(group, 1e6, 1)
    job = TrainingJob(trial)
    assert job.work(Control())
    assert trial.directory.ended == "diverged"
    assert job.done()


def test_no_evaluation_scores_the_training_split(done):
    metrics = [run.metrics() for run in map(RunDirectory, (done / "cells").iterdir())]
    scores = [record["training_split_nats"] for run in metrics for record in run if record["kind"] == "evaluation"]
    assert set(scores) == {None}


def test_untrained_is_the_initial_model(done, tmp_path):
    path = next(path for path in sorted((done / "cells").iterdir()) if path.name.startswith("recall-5-lstm"))
    run = load(path)
    torch.manual_seed(run.config.training.seed)
    before = torch.get_rng_state()
    initial = untrained(run)
    assert torch.equal(torch.get_rng_state(), before)
    expected = Trainer(run.config, run.corpus(), RunDirectory(tmp_path / "run")).model
    assert all(torch.equal(a, b) for a, b in zip(initial.parameters(), expected.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(initial.parameters(), run.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "experiments.recall.arms=[lstm, rmn]",
            "there is no arm rmn. Did you mean rnn? Arms: lstm; rnn; rnn, uniform; rnn",
        ),
        ("experiments.surgery.lag=7", "7 is not one of recall.lags"),
        ("experiments.gradient.arms=[cut]", "cut is not one of recall.arms"),
        ("experiments.text.gate_arms=[wide]", "wide is not one of text.arms"),
        ("rate_seeds=9", "unknown field. Did you mean search_seeds?"),
        ("arms.lstm={starts: {a: {}}}", "in recall: starts: unknown field. Did you mean initializations?"),
        ("arms.lstm={initialisations: {a: {}}}", "initialisations: unknown field. Did you mean initializations?"),
        ("arms.lstm={initializations: {}}", "arms.lstm.initializations: expected a mapping of names to settings"),
        ("arms.rnn={initializations: {relu: {model.cel: rnn}}}", "in recall: model.cel: unknown field"),
        ("arms.rnn={initializations: {a: {}, A: {}}}", "the name differs only in case from rnn, a"),
        ("arms.lstm={model.cel: lstm}", "in recall: model.cel: unknown field"),
        ("shared={training.budget.steps: 0}", "training.budget.steps: expected"),
        (
            "experiments.recall.claims=[{statement: x, metric: longest lag, arm: lstm}]",
            "give either at_least or at_most",
        ),
        ("experiments.recal={}", "experiments.recal"),
    ],
)
def test_invalid_file_raises(texts, change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_comparison(texts / "memory.yaml", [change])


def test_gates_of_an_arm_without_gates_raise(texts, tmp_path):
    with pytest.raises(UserError, match=r"experiments\.text: gate_arms: rnn has no gates"):
        make_comparison(texts, tmp_path, "experiments.text.gate_arms=[rnn]")


def test_unknown_metric_or_experiment_raises(texts, tmp_path):
    claim = "experiments.copying.claims=[{statement: x, metric: gain over lag 3, arm: lstm, at_least: 1}]"
    with pytest.raises(UserError, match=r"no metric 'gain over lag 3'. Metrics: nats at lag 3, gain at lag 3"):
        make_comparison(texts, tmp_path, claim)
    with pytest.raises(UserError, match="--only memory: there is no such experiment"):
        make_comparison(texts, tmp_path, only=["memory"])


def test_quick_changes_the_configuration(texts):
    config = load_comparison(texts / "memory.yaml", ["search_seeds=1"], quick=True)
    assert config.seeds == 1
    assert "counting" not in config.experiments.present()
    without_quick = texts / "slow.yaml"
    without_quick.write_text((texts / "memory.yaml").read_text().partition("quick:")[0])
    with pytest.raises(UserError, match="has no quick form"):
        load_comparison(without_quick, quick=True)


def test_arms_with_another_budget_are_named(texts, tmp_path):
    facts = dict(method(make_comparison(texts, tmp_path).config, tmp_path, "").facts)
    assert "some of these differ" not in facts["Equal"]
    changed = make_comparison(texts, tmp_path, "arms.lstm.training.budget.steps=3", "arms.rnn.model.dropout=0.1")
    facts = dict(method(changed.config, tmp_path, "").facts)
    assert "; some of these differ for lstm: see the table below" in facts["Equal"]
