"""A run is found by its path, by its name, or as the latest one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import distinct_names, find_run, find_weights, run_names
from charlstm.runs.naming import initial_run_name


@pytest.fixture(autouse=True)
def runs(tiny_run, tmp_path, monkeypatch):
    """The runs `old` and `tiny`, the latter trained last, and a comparison with one run."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("old", "versus/lstm-seed1", "tiny")):
        shutil.copytree(tiny_run, Path("runs") / name)
        os.utime(Path("runs") / name / "metrics.jsonl", (number, number))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("tiny", "runs/tiny"),
        ("runs/tiny", "runs/tiny"),
        ("latest", "runs/tiny"),
        ("versus/lstm-seed1", "runs/versus/lstm-seed1"),
        ("versus", "runs/versus"),
        ("runs/old/checkpoints/best.safetensors", "runs/old/checkpoints/best.safetensors"),
    ],
)
def test_names_and_paths(given, path):
    assert find_run(Path(given)) == Path(path)


def test_run_in_a_comparison_of_memories(tiny_run):
    """Its runs are in a folder within that of the comparison."""
    for folder in ("cells", "other"):
        Path("runs/memory", folder).mkdir(parents=True)
    Path("runs/memory/claims.json").touch()
    shutil.copytree(tiny_run, "runs/memory/cells/recall-10-lstm, bias 5-0.01-seed2")
    expected = Path("runs/memory/cells/recall-10-lstm, bias 5-0.01-seed2")
    assert find_run(Path("memory/recall-10-lstm, bias 5-0.01-seed2")) == expected
    assert find_run(Path("runs/memory/recall-10-lstm, bias 5-0.01-seed2")) == expected
    with pytest.raises(UserError, match=r"Did you mean memory/recall-10-lstm, bias 5-0.01-seed2\?"):
        find_run(Path("memory/recall-10-lstm"))
    shutil.copytree(tiny_run, "runs/memory/other/recall-10-lstm, bias 5-0.01-seed2")
    with pytest.raises(UserError, match=r"several runs have this name: .*cells.*, .*other"):
        find_run(Path("memory/recall-10-lstm, bias 5-0.01-seed2"))


@pytest.mark.parametrize(("file", "used"), [("my.yaml", "train my.yaml"), ("compare/a.yml", "compare compare/a.yml")])
def test_configuration_is_no_run(file, used):
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text("model: {}")
    with pytest.raises(UserError, match=f"{file} is a configuration, not a run. To use it:  charlstm {used}"):
        find_run(Path(file))


@pytest.mark.parametrize(
    ("mark", "held"),
    [
        ("claims.json", "experiments on memory"),
        ("sweep.yaml", "a sweep"),
        ("a-seed1/config.yaml", "a comparison of arms"),
    ],
)
def test_folder_of_a_comparison_is_named(mark, held):
    (Path("runs/several") / mark).parent.mkdir(parents=True)
    (Path("runs/several") / mark).touch()
    expected = rf"runs/several is the folder of {held}, not of a run. To list its runs:  charlstm runs --all$"
    with pytest.raises(UserError, match=expected):
        RunDirectory(Path("runs/several")).config()


def test_path_precedes_a_name_but_an_unrelated_folder_does_not(tiny_run):
    Path("tiny").mkdir()
    assert find_run(Path("tiny")) == Path("runs/tiny")
    Path("unrelated").mkdir()
    assert find_run(Path("unrelated")) == Path("unrelated")
    shutil.copytree(tiny_run, "tiny", dirs_exist_ok=True)
    assert find_run(Path("tiny")) == Path("tiny")
    shutil.copytree(tiny_run, "runs/latest")
    assert find_run(Path("latest")) == Path("runs/latest")


def test_folder_with_exported_weights_is_its_file_but_a_run_is_its_folder():
    for folder in ("hub", "runs/tiny"):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, "model.safetensors").touch()
    Path("empty").mkdir()
    assert find_weights("hub") == Path("hub/model.safetensors")
    assert find_weights("runs/tiny") == Path("runs/tiny")
    assert find_weights("empty") == Path("empty")


def test_another_folder_of_runs(tiny_run):
    shutil.copytree(tiny_run, "else/where")
    assert find_run(Path("where"), Path("else")) == Path("else/where")
    assert find_run(Path("latest"), Path("else")) == Path("else/where")
    with pytest.raises(UserError, match=r"Did you mean where.*To list the runs:  charlstm runs --runs else"):
        find_run(Path("wher"), Path("else"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tinny", "tinny: there is no such run or checkpoint. Did you mean tiny? To list the runs:  charlstm runs"),
        ("runs/tinny", "runs/tinny: there is no such run or checkpoint. Did you mean runs/tiny?"),
        ("zzz", "zzz: there is no such run or checkpoint. To list the runs:  charlstm runs"),
        ("runs/versus/lstm-sed1", "Did you mean runs/versus/lstm-seed1?"),
        ("runs/tiny/checkpoints/bets.safetensors", "Did you mean runs/tiny/checkpoints/best.safetensors?"),
        ("no/where", "no/where: there is no such run or checkpoint. Train one: charlstm train CONFIG"),
        ("\0", "there is no such run"),
        ("x" * 5000, "there is no such run"),
    ],
)
def test_unknown_names(given, message):
    with pytest.raises(UserError) as raised:
        find_run(Path(given))
    assert message in str(raised.value)


def test_no_runs_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "runs" / "old")
    with pytest.raises(UserError, match=r"latest: there is no such run or checkpoint. Train one"):
        find_run(Path("latest"))


def test_run_names_latest_first():
    assert run_names(Path("runs")) == ["tiny", "old"]
    assert run_names(Path("runs"), is_deep=True) == ["tiny", "versus/lstm-seed1", "old"]


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("/a/runs/wide", "wide"),
        ("/a/runs/wide/checkpoints/last.safetensors", "wide"),
        ("/a/hub/model.safetensors", "hub"),
        ("/a/kept/may.safetensors", "may"),
        ("C:\\runs\\wide", "wide"),
        ("wide", "wide"),
    ],
)
def test_initial_run_has_the_name_of_its_run(recorded, name):
    assert initial_run_name(recorded) == name


def test_names_side_by_side(tmp_path):
    paths = [tmp_path / name for name in ("a/one", "b/one", "two")]
    assert distinct_names(paths) == [str(paths[0]), str(paths[1]), "two"]
    with pytest.raises(UserError, match="the same run is named twice"):
        distinct_names([tmp_path / "two", tmp_path / "a" / ".." / "two"])
