from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from test_cli_memory import MEMORY

from charlstm.checkpoints.format import load_checkpoint
from charlstm.comparison import arms as experiment_module
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
    """Names of the folders of the runs that were trained."""
    runs, run = [], Trainer.run

    def recording(self):
        runs.append(self.directory.path.name)
        return run(self)

    monkeypatch.setattr(Trainer, "run", recording)
    return runs


def test_compare_from_end_to_end(charlstm, compare_file, trained, drawn_plots):
    result = charlstm("compare", compare_file)
    assert result.code == 0
    assert trained == ["rnn-seed1", "lstm-seed1", "rnn-seed2", "lstm-seed2"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.out)
    counts = dict(re.findall(r"^(\w+): \w+, 1 x \d+, ([\d,]+) parameters$", result.out, re.MULTILINE))
    rnn, lstm = (int(counts[arm].replace(",", "")) for arm in ("rnn", "lstm"))
    assert abs(rnn - lstm) <= 0.01 * rnn
    assert re.search(r"^ *arm  .*bits/character .* parameters .* seconds", result.out, re.MULTILINE)
    assert re.search(r"^ *lstm  +\d\.\d+ ", result.out, re.MULTILINE)
    report = Path("runs/versus/report")
    assert f"report: {report / 'index.html'}" in result.out
    assert "<html" in (report / "index.html").read_text(encoding="utf-8")
    pictures = [path.read_bytes() for path in report.glob("*.png")]
    assert pictures
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in pictures)
    record = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert [(arm["name"], len(arm["runs"])) for arm in record["arms"]] == [("rnn", 2), ("lstm", 2)]
    assert all(run["finished"] for arm in record["arms"] for run in arm["runs"])
    assert [run["seed"] for run in record["arms"][0]["runs"]] == [1, 2]

    trained.clear()
    again = charlstm("compare", compare_file)
    assert (again.code, trained) == (0, [])
    assert again.out.count("already done") == 4
    assert again.out.split("already done\n")[-1] == result.out[result.out.index("versus\n") :]

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


def test_runs_on_different_texts_are_not_compared(
    charlstm, compare_file, tiny_run, make_config, make_trainer, tmp_path
):
    trainer = make_trainer(make_config(corpus={"validation_fraction": 0.2}, budget={"steps": 1}), tmp_path / "other")
    list(trainer.run())
    result = charlstm("compare", tiny_run, tmp_path / "other")
    assert result.code == 2
    assert "not comparable" in result.err


def interrupt_at(monkeypatch, step: int) -> None:
    """Send SIGINT when the second run begins this step."""
    original_step, sent = Trainer._step, []

    def stepping(self):
        if self.directory.path.name == "lstm-seed1" and self.counters.step == step and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return original_step(self)

    monkeypatch.setattr(Trainer, "_step", stepping)


@pytest.mark.parametrize("step", [3, 7], ids=["in the middle", "at the last step"])
def test_interrupted_comparison_resumes(charlstm, compare_file, trained, monkeypatch, step):
    assert charlstm("compare", compare_file, "--name", "uninterrupted").code == 0
    trained.clear()
    interrupt_at(monkeypatch, step)
    result = charlstm("compare", compare_file)
    assert result.code == 130
    assert trained == ["rnn-seed1", "lstm-seed1"]
    assert "to resume, run the same command" in result.out
    trained.clear()
    result = charlstm("compare", compare_file)
    assert result.code == 0
    assert trained == ["lstm-seed1", "rnn-seed2", "lstm-seed2"]  # at the last step, the evaluation is still missing
    for run in ("rnn-seed1", "lstm-seed1", "rnn-seed2", "lstm-seed2"):
        ours, theirs = (
            load_checkpoint(Path(f"runs/{name}/{run}/checkpoints/last.safetensors"))[0]
            for name in ("versus", "uninterrupted")
        )
        assert all((t == theirs[key]).all() for key, t in ours.items())


def test_save_request_writes_a_checkpoint(charlstm, compare_file, monkeypatch):
    original_step, sent = Trainer._step, []

    def stepping(self):
        if self.counters.step == 2 and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGUSR1)
        return original_step(self)

    monkeypatch.setattr(Trainer, "_step", stepping)
    result = charlstm("compare", compare_file, "--set", "seeds=1")
    assert result.code == 0
    assert "[rnn, seed 1] saved at step 3, as requested" in result.out


@pytest.mark.slow
def test_two_jobs_at_a_time_give_the_same_results(charlstm, compare_file):
    assert charlstm("compare", compare_file, "--name", "one-by-one").code == 0
    result = charlstm("compare", compare_file, "--jobs", 2)
    assert result.code == 0
    assert re.search(r"^\d of 4 runs, [12] now: (rnn|lstm), seed 1 \d+% \d+\.\d+ bits", result.out, re.MULTILINE)
    for arm in ("rnn", "lstm"):
        for seed in (1, 2):
            assert f"[{arm}, seed {seed}] step 8 epoch" in result.out
            ours, theirs = (
                load_checkpoint(Path(f"runs/{name}/{arm}-seed{seed}/checkpoints/last.safetensors"))[0]
                for name in ("versus", "one-by-one")
            )
            assert all((t == theirs[key]).all() for key, t in ours.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.yaml",), "missing.yaml"),
        (("versus.yaml", "--set", "arms.lstm={model.cell: lstn}"), "lstm"),
        (("versus.yaml", "--name", "up/.."), "so it cannot contain"),
        (("nowhere/a", "nowhere/b"), "no such run"),
        ((".",), "is not a run directory"),
    ],
    ids=str,
)
def test_mistakes_are_reported_in_one_message(charlstm, compare_file, arguments, message):
    result = charlstm("compare", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert [p.name for p in Path().iterdir()] == ["versus.yaml"]


def test_dry_run_prints_the_networks_and_trains_nothing(charlstm, compare_file, trained):
    result = charlstm("compare", compare_file, "--dry-run")
    assert (result.code, trained) == (0, [])
    assert re.search(r"^rnn: rnn, 1 x 60, [\d,]+ parameters$", result.out, re.MULTILINE)
    assert result.out.endswith(f"4 runs in {Path('runs/versus')}\n")
    assert not Path("runs").exists()
    assert charlstm("compare", compare_file, "--set", "seeds=1").code == 0
    again = charlstm("compare", compare_file, "--dry-run")
    assert again.out.endswith(f"4 runs in {Path('runs/versus')}, 2 of them complete\n")


def test_overwrite_trains_all_arms_again(charlstm, compare_file, trained):
    quick = ("--set", "seeds=1", "--set", "training.budget={steps: 1}")
    assert charlstm("compare", compare_file, *quick).code == 0
    trained.clear()
    assert charlstm("compare", compare_file, *quick, "--overwrite").code == 0
    assert trained == ["rnn-seed1", "lstm-seed1"]
    assert experiment_module.TOLERANCE == 0.01


def test_sample_of_a_bidirectional_run_is_a_filled_gap(charlstm, make_config, make_trainer, tmp_path, text):
    source = tmp_path / "source"
    source.write_text(text)
    config = make_config({"direction": "bidirectional"}, {"source": str(source)}, budget={"steps": 1})
    list(make_trainer(config, tmp_path / "both").run())
    report = tmp_path / "both" / "report" / "report.json"
    assert charlstm("compare", tmp_path / "both").code == 0
    (run,) = json.loads(report.read_text())["arms"][0]["runs"]
    before, after = run["sample"].split("[")[0], run["sample"].split("]")[1]
    assert text[-150:].startswith(before)
    assert text[-150:].endswith(after)
    assert len(before) + len(after) == 142
    source.unlink()
    assert charlstm("compare", tmp_path / "both").code == 0
    assert json.loads(report.read_text())["arms"][0]["runs"][0]["sample"] == ""


def test_changed_settings_are_named(charlstm, compare_file, trained):
    quick = ("--set", "seeds=1", "--set", "match=width")
    assert charlstm("compare", compare_file, *quick).code == 0
    trained.clear()
    changes = ("training.clip_grad_norm=null", "training.budget={steps: 9}", "corpus.validation_fraction=0.2")
    result = charlstm("compare", compare_file, *quick, *(word for change in changes for word in ("--set", change)))
    assert (result.code, result.out, trained) == (2, "", [])
    for expected in (
        "training.clip_grad_norm was 1.0, is null",
        "training.budget was {epochs: null, steps: 8, minutes: null, target_nats: null}, is {epochs: null, steps: 9,",
        "corpus.validation_fraction was 0.1, is 0.2",
        "--name NAME",
        "--overwrite",
    ):
        assert expected in result.err
    assert "corpus.source" not in result.err


@pytest.mark.parametrize(
    ("mark", "content"),
    [
        ("config.yaml", "a run"),
        ("sweep.yaml", "a sweep"),
        ("claims.json", "experiments on memory"),
        ("lstm-seed1/config.yaml", "a comparison of arms"),
    ],
)
def test_nothing_is_written_into_the_folder_of_something_else(charlstm, compare_file, mark, content):
    memory = Path("memory.yaml")
    memory.write_text(MEMORY)
    for file, own in ((compare_file, "a comparison of arms"), (memory, "experiments on memory")):
        path = Path("runs") / file.stem / mark
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        if content != own:
            result = charlstm("compare", file)
            assert (result.code, result.out) == (2, "")
            assert f"is the folder of {content}. Choose another name" in result.err
            assert [one for one in Path("runs").rglob("*") if one.is_file() and file.stem in str(one)] == [path]


def test_moved_text_is_the_same_corpus(charlstm, compare_file, corpus_file, trained, tmp_path):
    quick = ("--set", "match=width")
    assert charlstm("compare", compare_file, *quick, "--set", "seeds=1").code == 0
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "of another name.txt"
    moved.write_bytes(corpus_file.read_bytes())
    trained.clear()
    result = charlstm("compare", compare_file, *quick, "--set", f"corpus.source={moved}")
    assert (result.code, trained) == (0, ["rnn-seed2", "lstm-seed2"])
    moved.write_text("another text " * 200)
    for source, message in ((moved, "another text"), (corpus_file, "")):
        result = charlstm("compare", compare_file, *quick, "--set", "seeds=1", "--set", f"corpus.source={source}")
        assert (result.code, message in result.err) == (2 if message else 0, True)
    corpus = f"corpus.source={tmp_path / 'same path.txt'}"
    (tmp_path / "same path.txt").write_text("one text " * 200)
    assert charlstm("compare", compare_file, *quick, "--set", "seeds=1", "--set", corpus, "--name", "moved").code == 0
    (tmp_path / "same path.txt").write_text("another one " * 300)
    result = charlstm("compare", compare_file, *quick, "--set", "seeds=1", "--set", corpus, "--name", "moved")
    assert result.code == 2
    assert "whose content has changed" in result.err


def test_interrupted_overwrite_resumes_as_reported(charlstm, compare_file, trained, monkeypatch):
    quick = ("--set", "match=width", "--set", "seeds=1")
    assert charlstm("compare", compare_file, *quick).code == 0
    changed = (*quick, "--set", "training.learning_rate=1e-3")
    trained.clear()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        result = charlstm("compare", compare_file, *changed, "--overwrite")
    assert (result.code, trained) == (130, ["rnn-seed1", "lstm-seed1"])
    assert "to resume, run the same command without --overwrite" in result.out
    trained.clear()
    assert charlstm("compare", compare_file, *changed).code == 0
    assert trained == ["lstm-seed1"]


def test_overwrite_deletes_nothing_if_training_cannot_start(charlstm, compare_file, trained):
    quick = ("--set", "match=width", "--set", "seeds=1")
    assert charlstm("compare", compare_file, *quick).code == 0
    trained.clear()
    lacking = ("--set", "arms.lstm={training.device: cuda:99}")
    result = charlstm("compare", compare_file, *quick, *lacking, "--overwrite")
    assert (result.code, trained) == (2, [])
    assert charlstm("compare", compare_file, *quick).out.count("already done") == 2


def test_runs_of_the_same_name_get_separate_comparisons(charlstm, make_config, make_trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a/x", "b/x", "c/x"):
        list(make_trainer(make_config(budget={"steps": 1}), tmp_path / path).run())

    def compared(*paths: str) -> str:
        result = charlstm("compare", *paths)
        assert result.code == 0
        return re.search(r"report: (.*)/report/index.html", result.out)[1]

    assert compared("a/x", "b/x") == "runs/compare-x-x"
    assert compared("a/x", "c/x") == "runs/compare-x-x-2"
    assert compared("b/x", "c/x") == "runs/compare-x-x-3"
    assert compared("a/x", "../" + tmp_path.name + "/c/x") == "runs/compare-x-x-2"
    Path("runs/compare-x-x/report/report.json").write_text("[")
    assert compared("a/x", "b/x") == "runs/compare-x-x-4"
    record = json.loads(Path("runs/compare-x-x-2/report/report.json").read_text())
    assert record["arms"][0]["name"] == "a/x"


def test_report_shows_settings_as_yaml(charlstm, compare_file):
    assert charlstm("compare", compare_file, "--set", "seeds=1", "--set", "match=width").code == 0
    page = Path("runs/versus/report/index.html").read_text(encoding="utf-8")
    assert "model.cell: rnn, model.hidden_size: 60" in page
    assert "<td>embedding</td>" in page
    for python in ("None", "True", "False", "{&#39;", "[&#39;"):
        assert python not in re.sub(r"<(style|svg|pre).*?</\1>", "", page, flags=re.DOTALL), python
