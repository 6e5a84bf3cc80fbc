"""The list of runs: their fields, their states, and that it needs no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.runs.listing import list_runs, summarize
from charlstm.runs.metrics import read_outline, read_records


@pytest.fixture
def folder(tiny_run, tmp_path):
    """A folder with one finished run, `tiny`."""
    shutil.copytree(tiny_run, tmp_path / "runs" / "tiny")
    return tmp_path / "runs"


def append(path, **record):
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


TRAIN = {"kind": "train", "step": 91, "characters": 7280, "seconds": 2.0, "nats": 1.0}


def test_fields_of_a_finished_run(folder, tiny_run):
    (run,) = list_runs(folder)
    best = min(r["nats"] for r in RunDirectory(tiny_run).metrics() if r["kind"] == "evaluation")
    assert (run.name, run.state, run.problem) == ("tiny", "finished", "")
    assert (run.cell, run.hidden_size, run.num_layers, run.direction) == ("lstm", 16, 1, "forward")
    assert (run.source, run.unit, run.steps, run.best_nats) == (("tiny.txt",), "character", 90, best)
    assert run.parameters > 1000
    assert run.to_json()["best_bits_per_character"] == pytest.approx(best / 0.6931, rel=1e-3)
    json.dumps(run.to_json())


def test_score_on_the_whole_split_is_not_one_of_the_evaluations(folder):
    before = summarize(folder / "tiny", "tiny")
    append(folder / "tiny", kind="whole_split", network="last", step=90, nats=9.0, seconds=2.0, characters_scored=9)
    after = summarize(folder / "tiny", "tiny")
    assert after.problem == ""
    assert (after.held_out_nats, after.training_split_nats) == (before.held_out_nats, before.training_split_nats)


def test_outline_has_every_record_but_training_in_between(tiny_run):
    path = tiny_run / "metrics.jsonl"
    records, outline = list(read_records(path)), list(read_outline(path))
    assert [r for r in records if r["kind"] != "train"] == [r for r in outline if r["kind"] != "train"]
    assert outline[-1] == records[-1]
    assert len(outline) < len(records) / 4


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda path: append(path, **TRAIN), "stopped"),
        (lambda path: append(path, kind="end", step=91, seconds=1.0, stop_reason="diverged"), "diverged"),
        (lambda path: append(path, kind="end", step=91, seconds=1.0, stop_reason="stopped"), "stopped"),
        (lambda path: append(path, kind="end", step=91, seconds=1.0, stop_reason="early_stopping"), "finished"),
        (lambda path: (path / "metrics.jsonl").unlink(), "stopped"),
        (lambda path: append(path, kind="what"), "damaged"),
        (lambda path: (path / "config.yaml").write_text("model: [1"), "damaged"),
        (lambda path: (path / "config.yaml").write_text("- 1"), "damaged"),
        (lambda path: (path / "checkpoints" / "last.safetensors").write_bytes(b"1"), "damaged"),
        (lambda path: os.truncate(path / "checkpoints" / "last.safetensors", 5000), "damaged"),
        (lambda path: shutil.rmtree(path / "checkpoints"), "finished"),
    ],
)
def test_state_of_a_run(folder, change, state):
    change(folder / "tiny")
    run = summarize(folder / "tiny", "tiny")
    assert run.state == state, run.problem
    assert (run.problem != "") == (state == "damaged")


def test_half_written_last_record_is_not_damage(folder):
    with (folder / "tiny" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert summarize(folder / "tiny", "tiny").problem == ""


def test_run_that_a_process_writes_is_training(folder, tmp_path):
    append(folder / "tiny", **TRAIN)
    code = (
        "import sys; from pathlib import Path; from charlstm.runs.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).writing(): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / "tiny")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        assert summarize(folder / "tiny", "tiny").state == "training"
        process.stdin.close()
    assert summarize(folder / "tiny", "tiny").state == "stopped"


def test_listing_takes_no_lock_of_a_process_that_has_ended(folder, monkeypatch):
    append(folder / "tiny", **TRAIN)
    monkeypatch.setattr("charlstm.runs.lock._has_ended", lambda _: True)
    monkeypatch.setattr("charlstm.runs.lock.lock", lambda _: pytest.fail("the lock was taken"))
    assert summarize(folder / "tiny", "tiny").state == "stopped"


def test_latest_run_comes_first_and_comparisons_are_deep(folder):
    for number, name in enumerate(("versus/lstm-seed1", "a", "b")):
        shutil.copytree(folder / "tiny", folder / name)
        when = time.time() - 100 * number
        os.utime(folder / name / "metrics.jsonl", (when, when))
    os.utime(folder / "tiny" / "metrics.jsonl", (1, 1))
    (folder / "notes").mkdir()
    assert [run.name for run in list_runs(folder)] == ["a", "b", "tiny"]
    assert [run.name for run in list_runs(folder, is_deep=True)] == ["versus/lstm-seed1", "a", "b", "tiny"]


def test_folder_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot read the folder of runs"):
        list_runs(tmp_path / "nothing")


def test_listing_and_finding_runs_load_no_torch():
    modules = "charlstm.runs.names, charlstm.cli.next_steps, charlstm.cli.train_plan"
    code = f"import sys, {modules}; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
