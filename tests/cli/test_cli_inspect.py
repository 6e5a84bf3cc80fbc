"""The command ``charlstm inspect``, and the pages that ``charlstm compare`` adds."""

from __future__ import annotations

import json
import shutil

import pytest

from charlstm import load
from charlstm.cli import compare

INSPECT = compare._inspect


def test_page_is_written_into_the_run(charlstm, tiny_run, tmp_path, monkeypatch):
    result = charlstm("inspect", tiny_run, "--output", tmp_path / "inside", "--characters", "200", "--context", "5")
    assert result.code == 0, result.err
    assert f"page: {tmp_path / 'inside' / 'index.html'}" in result.out
    record = json.loads((tmp_path / "inside" / "report.json").read_text(encoding="utf-8"))
    corpus = load(tiny_run).corpus()
    split = corpus.split("validation")
    assert record["text"] == corpus.vocabulary.decode(split)[:200]
    assert record["command"] == f"charlstm inspect {tiny_run} --characters 200 --context 5"
    assert len(record["runs"][tiny_run.name]["bits"]) == len(record["text"])
    assert len(record["runs"][tiny_run.name]["mean_bits_if_replaced"]) == 5


@pytest.mark.parametrize("given", ["file", "text", "stdin"])
def test_text_is_a_file_or_the_text_itself(charlstm, tiny_run, tmp_path, monkeypatch, given):
    (tmp_path / "some.txt").write_text("the cat sat on a mat\n", encoding="utf-8")
    argument = {"file": str(tmp_path / "some.txt"), "text": "the cat sat on a mat\n", "stdin": "-"}[given]
    arguments = ("inspect", tiny_run, "--text", argument, "--output", tmp_path / "inside", "--context", "0")
    monkeypatch.setattr("charlstm.standard_streams.read_stdin", lambda _: b"the cat sat on a mat\n")
    result = charlstm(*arguments)
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "inside" / "report.json").read_text(encoding="utf-8"))
    assert record["text"] == "the cat sat on a mat\n"


def test_units_of_interest_as_json(charlstm, tiny_run, tmp_path):
    result = charlstm("inspect", tiny_run, "--output", tmp_path, "--characters", "150", "--context", "0", "--json")
    scores = json.loads(result.out)[tiny_run.name]
    assert {"feature", "units", "scores", "chance", "last_characters", "shifted", "of_interest"} <= scores[0].keys()


def test_unit_is_held_while_sampling(charlstm, tiny_run):
    arguments = ("inspect", tiny_run, "--unit", "3", "--prime", "the ", "--length", "30", "--seed", "2")
    result = charlstm(*arguments, "--set", "5")
    assert result.code == 0, result.err
    unchanged = load(tiny_run).generate("the ", 30, temperature=0.6, seed=2)[0].full_text
    assert f"unchanged:\n{unchanged}\n" in result.out
    assert "c of unit 3 of layer 1 held at 5:\nthe " in result.out
    held = json.loads(charlstm(*arguments, "--part", "h", "--set", "mean", "--json").out)
    assert held["part"] == "h"
    assert abs(held["value"]) < 1
    assert held["unchanged"] == unchanged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "missing.txt"), "--text missing.txt: there is no such file"),
        (("--text", "Ω"), "not in the vocabulary"),
        (("--text", ""), "the text to score is empty"),
        (("--unit", "99", "--set", "1"), "there is no unit 99"),
        (("--unit", "1", "--layer", "2", "--set", "1"), "there is no layer 2"),
        (("--unit", "1", "--set", "up"), "neither a number nor mean"),
        (("--unit", "1"), "it needs --set VALUE"),
        (("--unit", "1", "--set", "1", "--text", "no.txt"), "--text has no effect with a number as --set"),
        (("--unit", "1", "--part", "hc", "--set", "1"), "'hc' is not a part of the state of lstm"),
        (("--text", "x" * 300), "not in the vocabulary"),
        (("--unit", "1", "--set", "1", "--context", "3"), "--context has no effect with --unit"),
        (("--set", "1"), "--set has no effect without --unit"),
        (("--unknown", "skip"), "--unknown has no effect without --text"),
    ],
)
def test_wrong_use_is_refused(charlstm, tiny_run, arguments, message):
    result = charlstm("inspect", tiny_run, *arguments)
    assert result.code == 2
    assert message in " ".join(result.err.split())


def test_unit_of_several_runs_is_refused(charlstm, tiny_run):
    result = charlstm("inspect", tiny_run, tiny_run, "--unit", "1", "--set", "1")
    assert result.code == 2
    assert "give one RUN" in result.err
    result = charlstm("inspect", tiny_run, tiny_run)
    assert result.code == 2
    assert "the same run is named twice" in result.err


def test_unit_is_held_without_the_text_of_the_run(charlstm, tiny_run, tmp_path, corpus_file):
    run = tmp_path / "moved"
    shutil.copytree(tiny_run, run)
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(corpus_file), "/nowhere.txt"), encoding="utf-8")
    assert charlstm("inspect", run, "--unit", "1", "--set", "1", "--length", "5").code == 0
    assert charlstm("inspect", run, "--unit", "1", "--set", "mean", "--length", "5").code == 2


def test_checkpoint_has_its_page_in_the_folder_of_the_run(charlstm, tiny_run, tmp_path, monkeypatch):
    run = tmp_path / "copy"
    shutil.copytree(tiny_run, run)
    monkeypatch.chdir(run)
    checkpoint = next((run / "checkpoints").glob("best*"))
    arguments = ("--characters", "50", "--context", "0")
    assert charlstm("inspect", checkpoint, *arguments).code == 0
    assert (run / "inspection" / "index.html").exists()
    result = charlstm("inspect", ".", *arguments)
    assert result.out.startswith("copy: ")


def test_compared_runs_are_shown_side_by_side(charlstm, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "_inspect", INSPECT)
    monkeypatch.setattr(compare, "INSPECTED", 100)
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    result = charlstm("compare", tiny_run, other, "--name", "both", "--runs", tmp_path)
    assert result.code == 0, result.err
    page = tmp_path / "both" / "report" / "inspection" / "index.html"
    assert f"inside: {page}" in result.out
    record = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert list(record["runs"]) == [tiny_run.name, "other"]
    assert len(record["text"]) == 100
    assert record["runs"]["other"]["bits"] == record["runs"][tiny_run.name]["bits"]


def test_compared_runs_without_their_text_have_no_such_page(charlstm, tiny_run, tmp_path, corpus_file, monkeypatch):
    monkeypatch.setattr(compare, "_inspect", INSPECT)
    for name in ("one", "two"):
        shutil.copytree(tiny_run, tmp_path / name)
        config = tmp_path / name / "config.yaml"
        config.write_text(
            config.read_text(encoding="utf-8").replace(str(corpus_file), "/nowhere.txt"), encoding="utf-8"
        )
    result = charlstm("compare", tmp_path / "one", tmp_path / "two", "--name", "both", "--runs", tmp_path)
    assert result.code == 0, result.err
    assert "one is not on the page of the units: no corpus '/nowhere.txt'" in result.err
    assert "inside:" not in result.out
