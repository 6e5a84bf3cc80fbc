"""``charlstm sweep`` and ``charlstm train --range-test``: output, files, refusals, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import charlstm as package

ROOT = Path(package.__file__).parents[1]
SWEEP = """\
# tiny
corpus: {{source: {source}}}
model: {{hidden_size: 6, front_end: one_hot}}
training: {{batch_size: 4, sequence_length: 20, precision: float32, device: cpu, budget: {{steps: {steps}}}}}
space:
  training.learning_rate: {{min: 1e-3, max: 3e-1, scale: log}}
  model.cell: [lstm, rnn]
trials: 4
"""


@pytest.fixture
def write_sweep(tmp_path, monkeypatch, corpus_file):
    monkeypatch.chdir(tmp_path)

    def write(steps=20) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(SWEEP.format(source=corpus_file, steps=steps), encoding="utf-8")
        return path

    return write


def test_sweep_prints_a_table_and_writes_the_best_configuration(charlstm, write_sweep):
    result = charlstm("sweep", write_sweep(), "--jobs", 1)
    assert result.code == 0
    assert "4 candidates: 4 to 10%, 2 to 30%, 1 to 100% of the budget" in result.out
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit() and line.count("  ") > 3]
    assert [row[-1] for row in rows] == ["finished", "30%", "10%", "10%"]
    best = rows[0][0]
    assert f"next:   charlstm sample runs/tiny/trial-{best}-seed1" in result.out
    assert Path("runs/tiny/report/index.html").exists()
    assert charlstm("sample", f"runs/tiny/trial-{best}-seed1", "--length", 5).code == 0
    assert charlstm("train", "runs/tiny/best.yaml", "--dry-run").code == 0
    again = charlstm("sweep", "tiny.yaml", "--jobs", 1)
    assert again.out.partition("tiny\n")[2].split("report:")[0] == result.out.partition("tiny\n")[2].split("report:")[0]


def test_json_alone_is_on_standard_output(charlstm, write_sweep):
    result = charlstm("sweep", write_sweep(), "--jobs", 1, "--json")
    record = json.loads(result.out)
    assert record["best_trial"] == record["trials"][0]["trial"]
    assert record["trials"][0]["state"] == "finished"
    assert "4 candidates" in result.err
    plan = json.loads(charlstm("sweep", "tiny.yaml", "--dry-run", "--json").out)
    assert {one["trial"]: one["values"] for one in plan} == {one["trial"]: one["values"] for one in record["trials"]}


def test_dry_run_lists_the_candidates_and_writes_nothing(charlstm, write_sweep):
    result = charlstm("sweep", write_sweep(), "--dry-run")
    assert result.code == 0
    assert "training.learning_rate" in result.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dry-run", "--overwrite"], "--overwrite has no effect with --dry-run"),
        (["--dry-run", "--jobs", 2], "--jobs has no effect with --dry-run"),
        (["--set", "trails=3"], "--set trails=3: unknown field. Did you mean trials?"),
        (["--name", "a/b"], "Give another one: --name NAME"),
    ],
)
def test_wrong_options_are_refused(charlstm, write_sweep, options, message):
    result = charlstm("sweep", write_sweep(), *options)
    assert result.code == 2
    assert message in result.err
    assert not Path("runs").exists()


def test_changed_file_is_refused_before_anything_is_trained(charlstm, write_sweep):
    charlstm("sweep", write_sweep(), "--jobs", 1)
    result = charlstm("sweep", write_sweep(steps=30), "--jobs", 1)
    assert result.code == 2
    assert "training.budget.steps was 20, is 30" in result.err
    assert "--name NAME" in result.err
    assert "saved" not in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
def test_ctrl_c_saves_and_the_same_command_resumes(charlstm, write_sweep):
    path = write_sweep(steps=3000)
    command = [sys.executable, "-m", "charlstm", "sweep", str(path), "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while not list(Path("runs/tiny").glob("trial-*/metrics.jsonl")) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved; to resume, run the same command again" in out
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    record = Path("runs/tiny/sweep.yaml").read_text(encoding="utf-8")
    assert "steps: 3000" in record


def test_range_test_prints_a_rate_and_leaves_runs_alone(charlstm, write_sweep, corpus_file, drawn_plots):
    write_sweep()
    Path("run.yaml").write_text(
        f"corpus: {{source: {corpus_file}}}\nmodel: {{hidden_size: 6, front_end: one_hot}}\n"
        "training: {batch_size: 4, sequence_length: 20, precision: float32, device: cpu, budget: {steps: 5}}\n",
        encoding="utf-8",
    )
    result = charlstm("train", "run.yaml", "--range-test", "--set", "training.seed=3")
    assert result.code == 0
    record = json.loads(Path("runs/run-range-test/report/report.json").read_text(encoding="utf-8"))
    rate = f"{record['suggested_learning_rate']:g}"
    assert f"Suggested learning rate: {rate}" in result.out
    next_command = f"charlstm train run.yaml --set training.seed=3 --set training.learning_rate={rate}"
    assert f"next:   {next_command}\n" in result.out
    assert [path.name for path in Path("runs").iterdir()] == ["run-range-test"]
    assert charlstm(*next_command.split()[1:]).code == 0
    assert "run-range-test" not in charlstm("runs", "--all").out


@pytest.mark.parametrize("option", ["--overwrite", "--resume", "--dry-run"])
def test_range_test_refuses_options_without_effect(charlstm, corpus_file, tiny_run, option):
    result = charlstm("train", tiny_run if option == "--resume" else corpus_file, "--range-test", option)
    assert result.code == 2
    assert f"{option} has no effect with --range-test" in result.err
