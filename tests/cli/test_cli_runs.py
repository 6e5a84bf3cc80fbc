"""``charlstm runs``, names of runs in every command, and answers that need no torch."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.cli import commands
from charlstm.cli.runs import age
from charlstm.runs.directory import RunDirectory
from charlstm.runs.metrics import whole_split_nats
from charlstm.units import bits


@pytest.fixture
def run(config_file, tiny_run) -> Path:
    """A copy of the run in the working directory, with a report."""
    copy = Path(shutil.copytree(tiny_run, "runs/tiny"))
    (copy / "report").mkdir()
    (copy / "report" / "index.html").touch()
    return copy


def test_table_of_runs(charlstm, run):
    shutil.copytree(run, "runs/versus/lstm-seed1")
    (Path(shutil.copytree(run, "runs/cut")) / "config.yaml").write_text("a: [")
    os.utime("runs/cut/metrics.jsonl", (0, 0))
    result = charlstm("runs")
    rows = [line.split() for line in result.out.splitlines() if line.strip()]
    assert [row[0] for row in rows] == ["name", rows[1][0], "tiny", "cut"]
    assert [row[-1] for row in rows[2:]] == ["finished", "damaged"]
    assert rows[2][1:4] == ["tiny.txt", "lstm", "16"]
    assert result.err == (
        "cut is damaged: runs/cut/config.yaml:1: not valid YAML: expected the node content, but found '<stream end>' "
        "(column 5)\n"
    )
    assert "versus/lstm-seed1" in charlstm("runs", "--all").out
    listed = json.loads(charlstm("runs", "--json").out)
    assert [(each["name"], each["state"]) for each in listed] == [("tiny", "finished"), ("cut", "damaged")]


def test_no_runs_and_no_folder(charlstm, config_file):
    result = charlstm("runs")
    assert (result.code, result.out) == (0, "")
    assert "no runs in runs. To train one:  charlstm train my-text.txt" in result.err
    assert charlstm("runs", "--json").out == "[]\n"
    assert charlstm("runs", "--runs", "nowhere").err == "error: --runs nowhere: there is no such folder\n"
    assert charlstm("runs", "--runs", config_file).code == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59.9, "59 s"), (61, "1 min"), (7300, "2 h"), (86400 * 400, "400 d")]
)
def test_age(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize("name", ["tiny", "latest"])
def test_every_command_takes_names(charlstm, run, name):
    assert charlstm("sample", name, "--length", 5, "--seed", 1).code == 0
    assert charlstm("evaluate", name).code == 0
    result = charlstm("inspect", name, "--context", 0, "--characters", 50)
    assert "page: runs/tiny/inspection/index.html" in result.out
    assert "report: runs/tiny/report/index.html" in charlstm("compare", name).out
    assert charlstm("train", name, "--resume").out.startswith("runs/tiny is finished: 90 steps")


def test_names_in_another_folder_of_runs(charlstm, run):
    shutil.move("runs", "others")
    assert charlstm("train", "tiny", "--resume", "--runs", "others").out.startswith("others/tiny is finished")
    assert "report: others/tiny/report" in charlstm("compare", "tiny", "--runs", "others").out
    assert charlstm("evaluate", "tiny", "--runs", "others").code == 0
    assert charlstm("plot", "latest", "--runs", "others").out == "curves.png\n"


@pytest.mark.parametrize(
    "line", ["sample", "evaluate", "inspect", "novelty", "plot", "export --to html", "compress tiny.yaml"]
)
def test_every_command_with_runs_looks_names_up_there(charlstm, run, line):
    shutil.move("runs", "others")
    command, *options = line.split()
    arguments = [options.pop()] if command == "compress" else []
    result = charlstm(command, "tinny", *arguments, *options, "--runs", "others")
    assert (result.code, result.out) == (2, "")
    assert "Did you mean tiny? To list the runs:  charlstm runs --runs others" in result.err
    result = charlstm(command, "others/tiny", *arguments, *options, "--runs", "others")
    assert (result.code, result.out) == (2, "")
    assert "--runs has no effect with others/tiny, which is a path" in result.err


@pytest.mark.parametrize("command", ["sample", "evaluate", "inspect", "compare", "train --resume"])
def test_unknown_name_suggests_the_nearest(charlstm, run, command):
    name, *options = command.split()
    result = charlstm(name, "tinny", *options)
    assert (result.code, result.out) == (2, "")
    assert "Did you mean tiny? To list the runs:  charlstm runs" in result.err


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        (["training.budget.steps=6"], "training.budget.steps=12"),
        (["training.budget={epochs: 0.2}"], "training.budget.epochs=0.4"),
        (["training.budget.steps=6", "training.budget.epochs=9"], "training.budget.steps=12"),
        (["training.budget.target_nats=9"], "training.budget.target_nats=null"),
        (
            ["training.early_stopping=1", "training.learning_rate=1e-9", "training.budget.steps=60"],
            "early_stopping=null",
        ),
    ],
)
def test_finished_run_names_the_command_that_trains_longer(charlstm, config_file, changes, option):
    settings = [word for change in changes for word in ("--set", change)]
    assert charlstm("train", config_file, *settings).code == 0
    result = charlstm("train", "runs/tiny", "--resume")
    assert result.code == 0
    assert "is finished: " in result.out
    line = re.search(r"^to train longer:  charlstm (.*)$", result.out, re.MULTILINE)[1]
    assert option in line
    steps = RunDirectory(Path("runs/tiny")).metrics()[-1]["step"]
    assert charlstm(*shlex.split(line)).code == 0
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["step"] > steps


@pytest.mark.parametrize("rate", ["1e-2", "1e-12"])
def test_run_whose_last_score_is_best_names_the_command_that_trains_longer(charlstm, config_file, rate):
    options = ("--set", f"training.learning_rate={rate}", "--set", "corpus.validation_fraction=0.3")
    result = charlstm("train", config_file, *options)
    end = result.out[result.out.index("best held-out score") :]
    assert ("the held-out score was best at the end: longer training may improve it\n" in end) == (rate == "1e-2")
    command = "charlstm train runs/tiny --resume --set training.budget.steps=24"
    assert (f"\ntrain longer:  {command}\n" in end) == (rate == "1e-2")


def test_finished_run_reports_the_score_of_the_whole_split(charlstm, config_file):
    Path("long.txt").write_text("the cat sat on the mat, and the dog ran to the cat. " * 200)
    fields = ("training.evaluation_characters=1000", "corpus.source=long.txt", "corpus.validation_fraction=0.3")
    assert charlstm("train", config_file, *(word for field in fields for word in ("--set", field))).code == 0
    directory = RunDirectory(Path("runs/tiny"))
    whole = whole_split_nats(directory.metrics())["best"]
    assert (
        f"steps, best held-out score {bits(whole):.4f} bits per character\n"
        in charlstm("train", "tiny", "--resume").out
    )
    records = directory.metrics_file.read_text().splitlines(keepends=True)
    directory.metrics_file.write_text("".join(record for record in records if "whole_split" not in record))
    assert " bits per character on a sample of the held-out text\n" in charlstm("train", "tiny", "--resume").out


def test_checkpoint_is_named_by_its_step(charlstm, config_file):
    options = ("--set", "training.keep_checkpoints=all", "--set", "corpus.validation_fraction=0.3")
    assert charlstm("train", config_file, *options).code == 0
    sample = ("--length", 30, "--seed", 1)
    named = charlstm("sample", "tiny", "--checkpoint", 6, *sample)
    assert (named.code, named.err) == (0, "")
    assert named.out == charlstm("sample", "runs/tiny/checkpoints/step-00000006.safetensors", *sample).out
    assert named.out != charlstm("sample", "tiny", "--checkpoint", "last", *sample).out
    assert charlstm("evaluate", "tiny", "--checkpoint", 6).code == 0
    error = "error: runs/tiny/checkpoints: no checkpoint of step 7; there are 6, 12\n"
    assert charlstm("sample", "tiny", "--checkpoint", 7).err == error
    result = charlstm("sample", "tiny", "--checkpoint", "first")
    assert result.code == 2
    assert "'first' is not one of: best, last, STEP" in result.err


def test_runs_to_average_with_a_checkpoint_of_a_step_are_the_best_of_theirs(charlstm, config_file):
    options = ("--set", "training.keep_checkpoints=all", "--set", "corpus.validation_fraction=0.3")
    assert charlstm("train", config_file, *options).code == 0
    other = ("--set", "corpus.validation_fraction=0.3", "--set", "training.budget.steps=5", "--name", "other")
    assert charlstm("train", config_file, *other).code == 0
    sample = ("--length", 30, "--seed", 1, "--average-with")
    by_step = charlstm("sample", "tiny", "--checkpoint", 6, *sample, "other")
    assert (by_step.code, by_step.err) == (0, "")
    kept = "runs/tiny/checkpoints/step-00000006.safetensors"
    assert by_step.out == charlstm("sample", kept, *sample, "runs/other/checkpoints/best.safetensors").out


def test_run_without_checkpoints_names_the_command_that_trains_it_again(charlstm, config_file):
    assert charlstm("train", config_file, "--runs", "others").code == 0
    shutil.rmtree("others/tiny/checkpoints")
    Path("others/tiny-2").mkdir()
    result = charlstm("train", "others/tiny", "--resume")
    again = "train others/tiny/config.yaml --name tiny-3 --runs others"
    assert result.code == 2
    assert result.err.endswith(
        f"others/tiny: its checkpoints were deleted; it cannot be resumed. To train it again:  charlstm {again}\n"
    )
    assert charlstm(*shlex.split(again)).code == 0
    assert RunDirectory(Path("others/tiny-3")).finished


def test_run_of_a_changed_text_names_the_command_that_goes_on(charlstm, config_file, corpus_file):
    text = Path("text.txt")
    text.write_text(corpus_file.read_text())
    fields = [f"source={text}", "documents=newline", "shuffle_documents=false", "validation_fraction=0.3"]
    assert charlstm("train", config_file, *(word for f in fields for word in ("--set", f"corpus.{f}"))).code == 0
    text.write_text(corpus_file.read_text()[40:])
    result = charlstm("train", "tiny", "--resume", "--set", "training.budget.steps=20")
    line = result.err.partition("To go on with the changed text:  charlstm ")[2]
    kept = " ".join(f"--set corpus.{field}" for field in ("validation_fraction=0.3", *fields[1:3]))
    assert line == f"train text.txt --from runs/tiny {kept} --name tiny-2\n"
    assert charlstm(*shlex.split(line), "--set", "training.budget.steps=2").code == 0
    assert RunDirectory(Path("runs/tiny-2")).config().corpus.documents == "newline"
    text.unlink()
    result = charlstm("train", "tiny", "--resume", "--set", "training.budget.steps=20")
    assert result.err.endswith(" If the text was moved, set corpus.source in runs/tiny/config.yaml\n")


def test_corpus_that_changed_after_the_training_names_the_option_that_replaces_it_where_there_is_one(
    charlstm, config_file, corpus_file
):
    text = Path("text.txt")
    text.write_text(corpus_file.read_text())
    assert charlstm("train", config_file, "--set", f"corpus.source={text}").code == 0
    text.write_text(corpus_file.read_text()[40:])
    changed = "error: the content of the corpus has changed since this model was trained on it"
    for command in ("evaluate", "inspect"):
        assert charlstm(command, "tiny").err == f"{changed}; give the text itself: --text FILE\n"
        assert charlstm(command, "tiny", "--text", text).code == 0
    assert charlstm("sample", "tiny", "--novelty", "--length", 5, "--seed", 1).err == f"{changed}\n"


def test_finished_run_is_not_changed(charlstm, run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert charlstm("train", run, "--resume").code == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


REFUSED = [
    "train nothing.yaml",
    "train tiny.yaml --set model.hiden_size=3",
    "train tiny.yaml --device gpu",
    "train runs/tiny",
    "sample tinny",
    "sample tiny --device gpu",
    "sample tiny --suffix a",
    "sample tiny --checkpoint worst",
    "evaluate tiny --split vali",
    "inspect tiny --layer 2",
    "compare tinny tiny",
    "compare tiny --set seeds=2",
    "bench --cell lsmt",
    "runs --runs nothing",
    "config --nothing",
    "trian",
]
EACH_IN_A_PROCESS = """
import os, sys
from charlstm import cli, config, console
for line in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    sys.argv = ["charlstm", *line.split()]
    try:
        cli.main()
    except SystemExit as ended:
        print(line, ended.code, "torch" in sys.modules, flush=True)
    os._exit(0)
"""


def test_refusals_come_before_torch_is_loaded(run, config_file):
    result = subprocess.run([sys.executable, "-c", EACH_IN_A_PROCESS, *REFUSED], capture_output=True, text=True)
    assert result.stdout.splitlines() == [f"{line} 2 False" for line in REFUSED], result.stderr


def test_version_and_short_help(charlstm):
    assert charlstm("--version").out.startswith("charlstm 0.")
    for command in ("train", "sample", "runs", "bench"):
        assert charlstm(command, "-h") == charlstm(command, "--help")


def test_command_of_its_own_has_short_help(capsys):
    """A command remembers the options of its first help, which may be asked for without the others."""
    with pytest.raises(SystemExit, match="0"):
        commands._build.__wrapped__("runs")(["-h"])
    assert "--all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("bench --cell lsmt", "lstm"),
        ("evaluate tiny --split vali", "validation"),
        ("sample tiny --checkpoint bst", "best"),
        ("sample tiny --device gpu", "cuda"),
        ("compare tiny --keep weight", "weights"),
        ("smaple tiny", "sample"),
        ("sample tiny --temprature 1", "--temperature"),
        ("train tiny.yaml --set model.cell=lsmt", "lstm"),
        ("train tiny.yaml --set model.hiden_size=1", "hidden_size"),
    ],
)
def test_every_word_has_a_suggestion(charlstm, run, line, suggestion):
    result = charlstm(*line.split())
    assert result.code == 2
    assert re.search(rf"(Did you mean|Possible options:) [^)]*{suggestion}\b", result.err), result.err
