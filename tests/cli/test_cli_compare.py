from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from charlstm.comparison import experiment as experiment_module
from charlstm.training.checkpoint import load_checkpoint
from charlstm.training.trainer import Trainer

COMPARE = """\
corpus:
  source: {source}
model:
  hidden_size: 12
training:
  batch_size: 4
  sequence_length: 20
  warmup_steps: 0
  evaluate_every: 4
  sample_length: 0
  precision: float32
  device: cpu
  budget:
    steps: 8
match: parameters
seeds: {seeds}
arms:
  rnn:
    model.cell: rnn
    model.hidden_size: 60
  lstm:
    model.cell: lstm
"""


@pytest.fixture
def compare_file(tmp_path, corpus_file, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "versus.yaml"
    path.write_text(COMPARE.format(source=corpus_file, seeds=2))
    return path


@pytest.fixture
def trained(monkeypatch):
    """The runs that a trainer ran, by the names of their folders."""
    runs, run = [], Trainer.run

    def noting(self):
        runs.append(self.directory.path.name)
        return run(self)

    monkeypatch.setattr(Trainer, "run", noting)
    return runs


def test_compare_from_end_to_end(charlstm, compare_file, trained):
    found = charlstm("compare", compare_file)
    assert found.code == 0
    assert trained == ["rnn-seed1", "lstm-seed1", "rnn-seed2", "lstm-seed2"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found.out)
    counts = dict(re.findall(r"^(\w+): \w+, 1 x \d+, ([\d,]+) parameters$", found.out, re.MULTILINE))
    rnn, lstm = (int(counts[arm].replace(",", "")) for arm in ("rnn", "lstm"))
    assert abs(rnn - lstm) <= 0.01 * rnn
    assert re.search(r"^ *arm  .*bits/character .* parameters .* seconds", found.out, re.MULTILINE)
    assert re.search(r"^ *lstm  +\d\.\d+ ", found.out, re.MULTILINE)
    report = Path("runs/versus/report")
    assert f"report: {report / 'index.html'}" in found.out
    assert "<html" in (report / "index.html").read_text(encoding="utf-8")
    assert list(report.glob("*.png"))
    record = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert [(arm["name"], len(arm["runs"])) for arm in record["arms"]] == [("rnn", 2), ("lstm", 2)]
    assert all(run["finished"] for arm in record["arms"] for run in arm["runs"])
    assert [run["seed"] for run in record["arms"][0]["runs"]] == [1, 2]

    trained.clear()
    again = charlstm("compare", compare_file)
    assert (again.code, trained) == (0, [])
    assert again.out.count("done already") == 4
    assert again.out.split("done already\n")[-1] == found.out[found.out.index("versus ") :]

    more = charlstm("compare", compare_file, "--set", "seeds=3")
    assert (more.code, trained) == (0, ["rnn-seed3", "lstm-seed3"])

    trained.clear()
    changed = charlstm("compare", compare_file, "--set", "training.learning_rate=1e-3")
    assert (changed.code, trained) == (2, [])
    assert "other settings" in changed.err

    two = charlstm("compare", "runs/versus/rnn-seed1", "runs/versus/lstm-seed2")
    assert two.code == 0
    assert Path("runs/compare-rnn-seed1-lstm-seed2/report/report.json").exists()

    one = charlstm("compare", "runs/versus/rnn-seed1")
    assert one.code == 0
    assert Path("runs/versus/rnn-seed1/report/index.html").exists()

    twice = charlstm("compare", "runs/versus/rnn-seed1", "runs/versus/rnn-seed1")
    assert twice.code == 2
    assert "named twice" in twice.err


def test_runs_on_different_texts_do_not_compare(charlstm, compare_file, tiny_run, make_config, make_trainer, tmp_path):
    trainer = make_trainer(make_config(corpus={"validation_fraction": 0.2}, budget={"steps": 1}), tmp_path / "other")
    list(trainer.run())
    found = charlstm("compare", tiny_run, tmp_path / "other")
    assert found.code == 2
    assert "do not compare" in found.err


def interrupt_at(monkeypatch, step: int) -> None:
    """Ctrl-C as the second run begins this step."""
    take, begun = Trainer._step, []

    def stepping(self):
        if self.directory.path.name == "lstm-seed1" and self.counters.step == step and not begun:
            begun.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return take(self)

    monkeypatch.setattr(Trainer, "_step", stepping)


@pytest.mark.parametrize("step", [3, 7], ids=["amid", "at the last step"])
def test_an_interrupted_comparison_goes_on(charlstm, compare_file, trained, monkeypatch, step):
    assert charlstm("compare", compare_file, "--name", "whole").code == 0
    trained.clear()
    interrupt_at(monkeypatch, step)
    found = charlstm("compare", compare_file)
    assert found.code == 130
    assert trained == ["rnn-seed1", "lstm-seed1"]
    assert "the same command goes on" in found.out
    trained.clear()
    found = charlstm("compare", compare_file)
    assert found.code == 0
    assert trained == ["lstm-seed1", "rnn-seed2", "lstm-seed2"]  # at the last step, its evaluation was still to come
    for run in ("rnn-seed1", "lstm-seed1", "rnn-seed2", "lstm-seed2"):
        ours, theirs = (
            load_checkpoint(Path(f"runs/{name}/{run}/checkpoints/last.safetensors"))[0] for name in ("versus", "whole")
        )
        assert all((t == theirs[key]).all() for key, t in ours.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.yaml",), "missing.yaml"),
        (("versus.yaml", "--set", "arms.lstm={model.cell: lstn}"), "lstm"),
        (("versus.yaml", "--name", "up/.."), "cannot be part of a name"),
        (("nowhere/a", "nowhere/b"), "no such run"),
        ((".",), "is no run"),
    ],
    ids=str,
)
def test_mistakes(charlstm, compare_file, arguments, message):
    found = charlstm("compare", *arguments)
    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert [p.name for p in Path().iterdir()] == ["versus.yaml"]


def test_overwrite_trains_all_arms_anew(charlstm, compare_file, trained):
    quick = ("--set", "seeds=1", "--set", "training.budget={steps: 1}")
    assert charlstm("compare", compare_file, *quick).code == 0
    trained.clear()
    assert charlstm("compare", compare_file, *quick, "--overwrite").code == 0
    assert trained == ["rnn-seed1", "lstm-seed1"]
    assert experiment_module.WITHIN == 0.01


def test_the_sample_of_a_bidirectional_run_is_a_filled_gap(charlstm, make_config, make_trainer, tmp_path, text):
    source = tmp_path / "source"
    source.write_text(text)
    config = make_config({"direction": "bidirectional"}, {"source": str(source)}, budget={"steps": 1})
    list(make_trainer(config, tmp_path / "both").run())
    report = tmp_path / "both" / "report" / "report.json"
    assert charlstm("compare", tmp_path / "both").code == 0
    (run,) = json.loads(report.read_text())["arms"][0]["runs"]
    before, behind = run["sample"].split("[")[0], run["sample"].split("]")[1]
    assert text[-150:].startswith(before)
    assert text[-150:].endswith(behind)
    assert len(before) + len(behind) == 142
    source.unlink()
    assert charlstm("compare", tmp_path / "both").code == 0
    assert json.loads(report.read_text())["arms"][0]["runs"][0]["sample"] == ""
