"""From a text to a run without a configuration, and from a text to a configuration."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from charlstm.cells import CELLS
from charlstm.config import load_config
from charlstm.config.ready import ready_configs
from charlstm.executors.cpp import build
from charlstm.text.catalog import catalog_names
from charlstm.training.size_defaults import CELL

TEXT = "Ann: hello\nBob: hi there, Ann\n" * 30
TINY = ("--set", "model.hidden_size=8", "--set", "training.sample_length=0", "--set", "training.budget={steps: 7}")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my tale.txt").write_text(TEXT)


def test_text_gives_a_run_with_its_name_and_settings(charlstm):
    for dtype in (torch.float32, torch.bfloat16):  # the note about their compilation is not in the output
        build.kernels(CELLS[CELL], dtype)
    result = charlstm("train", "my tale.txt", *TINY)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{Path.cwd() / 'my tale.txt'}: {len(TEXT):,} characters")
    assert lines[1] == "network: capped, one layer of 8 units, dropout 0.5"
    assert lines[2].startswith("training: batches of 4 x 32, learning rate 0.01, at most 7 steps")
    config = load_config(Path("runs/my tale/config.yaml"))
    assert (config.name, config.corpus.source) == ("my tale", str(Path.cwd() / "my tale.txt"))
    again = charlstm("train", "runs/my tale/config.yaml", "--name", "again")
    assert again.code == 0
    assert "chosen by the size" not in again.out
    assert load_config(Path("runs/again/config.yaml")).training == config.training


def test_choice_by_a_large_alphabet_is_explained_where_it_is_shown(charlstm):
    Path("poems.txt").write_text("".join(chr(0x4E00 + n % 1_300) for n in range(6_000)), encoding="utf-8")
    reason = "with 64 units in place of 128 for its 1,300 different characters, whose output layer takes most of a step"
    dry_run = " ".join(charlstm("train", "poems.txt", "--dry-run").out.split())
    assert "hidden_size: 64" in dry_run
    assert reason in dry_run
    other = charlstm("train", "poems.txt", "--dry-run", "--set", "model.hidden_size=32").out
    assert "units in place of" not in other
    assert charlstm("init", "poems.txt").code == 0
    assert f"# Chosen by the size of the text, {reason}." in Path("poems.yaml").read_text(encoding="utf-8")
    assert load_config(Path("poems.yaml")).model.hidden_size == 64


def test_budget_of_one_is_named_in_the_singular(charlstm):
    result = charlstm("train", "my tale.txt", *TINY[:-1], "training.budget={steps: 1, minutes: 1}")
    assert "at most 1 step or 1 minute" in " ".join(result.out.split()), result.err


def test_short_options_are_those_of_the_fields(charlstm):
    result = charlstm("train", "my tale.txt", *TINY[:-2], "-n", "b", "-m", 0.002, "-d", "cpu", "-s", 7)
    assert result.code == 0, result.err
    training = load_config(Path("runs/b/config.yaml")).training
    assert (training.budget.minutes, training.device, training.seed) == (0.002, "cpu", 7)
    assert charlstm("train", "my tale.txt", "-m", 1, "--set", "training.budget.minutes=2").code == 2


def test_several_texts_are_one_corpus(charlstm):
    Path("second.txt").write_text("and more of it\n" * 20)
    assert charlstm("train", "my tale.txt", "second.txt", *TINY).code == 0
    source = load_config(Path("runs/my tale/config.yaml")).corpus.source
    assert source == [str(Path.cwd() / name) for name in ("my tale.txt", "second.txt")]


def test_run_on_a_text_is_resumed_with_its_own_settings(charlstm):
    assert charlstm("train", "my tale.txt", *TINY).code == 0
    result = charlstm("train", "my tale.txt", "--resume", "--set", "training.budget={steps: 9}")
    assert result.code == 0, result.err
    assert "9 steps" in result.out
    assert "nothing to resume" in charlstm("train", "my tale.txt", "--resume", "-n", "other").err


def test_standard_input_is_saved_beside_the_run(charlstm, monkeypatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    give(TEXT.encode())
    assert charlstm("train", "-", *TINY).code == 0
    assert Path("runs/stdin.txt").read_text() == TEXT
    assert load_config(Path("runs/stdin/config.yaml")).corpus.source == str(Path("runs/stdin.txt").absolute())
    give(TEXT.encode())
    assert charlstm("train", "-", *TINY, "--overwrite").code == 0
    give(b"another text\n" * 9)
    assert "runs/stdin.txt exists" in charlstm("train", "-", *TINY, "--overwrite").err
    give(b"")
    assert "standard input is empty" in charlstm("train", "-").err
    assert "must be the only text" in charlstm("train", "-", "my tale.txt").err
    assert Path("runs/stdin.txt").read_text() == TEXT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.txt"], "no corpus"),
        (["quikstart"], "did you mean quickstart?"),
        (["my tale.txt", "quickstart"], "quickstart is a configuration: train takes one configuration, or texts"),
        (["my tale.txt", "nope"], "no corpus"),
        ([".", "--resume"], "is not a run directory"),
    ],
)
def test_arguments_that_are_nothing_are_one_message(charlstm, arguments, message):
    result = charlstm("train", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("runs").exists()


def test_empty_text_is_not_taken_for_a_configuration(charlstm):
    Path("empty.txt").touch()
    assert "the corpus is empty" in charlstm("train", "empty.txt").err


@pytest.mark.parametrize("empty", ["", "model:\ntraining:\n"])
def test_only_sections_that_are_left_out_are_chosen(charlstm, empty):
    Path("c.yaml").write_text(f"corpus: {{source: my tale.txt}}\n{empty}")
    assert charlstm("train", "c.yaml", *TINY).code == 0
    config = load_config(Path("runs/c/config.yaml"))
    assert (config.model.dropout, config.training.batch_size) == (0.5, 4)
    Path("d.yaml").write_text("corpus: {source: my tale.txt}\ntraining: {learning_rate: 1e-3}\n")
    assert charlstm("train", "d.yaml", *TINY).code == 0
    config = load_config(Path("runs/d/config.yaml"))
    assert (config.model.dropout, config.training.batch_size) == (0.5, 64)


def test_text_is_looked_for_beside_its_configuration_first(charlstm):
    folder = Path("there")
    folder.mkdir()
    (folder / "c.yaml").write_text("corpus: {source: my tale.txt}\n")
    assert charlstm("train", folder / "c.yaml", *TINY, "-n", "current").code == 0
    (folder / "my tale.txt").write_text(TEXT * 2)
    assert charlstm("train", folder / "c.yaml", *TINY, "-n", "beside").code == 0
    sources = [load_config(Path(f"runs/{name}/config.yaml")).corpus.source for name in ("current", "beside")]
    assert sources == [str(Path.cwd() / "my tale.txt"), str(Path.cwd() / "there/my tale.txt")]
    (folder / "c.yaml").write_text("corpus: {source: nowhere.txt}\n")
    message = charlstm("train", folder / "c.yaml").err
    assert f"Looked in {folder}, where the configuration is, and in {Path.cwd()}" in message


# charlstm init


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CR LF"])
def test_written_configuration_trains_as_without_it(charlstm, end):
    Path("my tale.txt").write_bytes(TEXT.replace("\n", end).encode())
    result = charlstm("init", "my tale.txt")
    assert (result.code, result.err) == (0, "")
    assert result.out == "wrote my tale.yaml\nnext:   charlstm train 'my tale.yaml'\n"
    lines = Path("my tale.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=.charlstm-schema.json"
    assert json.loads(Path(".charlstm-schema.json").read_text())["properties"]["corpus"]
    fields = [number for number, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    assert len(fields) > 9
    assert all(lines[number - 1].lstrip().startswith("# ") for number in fields)
    assert charlstm("train", "my tale.yaml", *TINY, "-n", "a").code == 0
    assert charlstm("train", "my tale.txt", *TINY, "-n", "b").code == 0
    a, b = (load_config(Path(f"runs/{name}/config.yaml")) for name in "ab")
    assert a.corpus.normalize == (["line_ends"] if end == "\r\n" else False)
    assert a == b.model_copy(update={"name": "a"})


def test_configuration_elsewhere_has_the_full_path(charlstm):
    assert charlstm("init", "my tale.txt", "--out", "there/c.yaml").code == 0
    assert load_config(Path("there/c.yaml")).corpus.source == str(Path.cwd() / "my tale.txt")


def test_init_overwrites_only_when_asked(charlstm):
    Path("my tale.yaml").write_text("mine")
    result = charlstm("init", "my tale.txt")
    assert (result.code, Path("my tale.yaml").read_text()) == (2, "mine")
    assert "my tale.yaml exists" in result.err
    assert charlstm("init", "my tale.txt", "--overwrite").code == 0
    for arguments in (["quickstart"], ["my tale.yaml"], ["-"], ["nope.txt"]):
        assert charlstm("init", *arguments, "--out", "new.yaml").code == 2
    assert not Path("new.yaml").exists()


# ready configurations


def test_ready_configurations_are_listed_printed_and_copied(charlstm):
    assert "Error: Invalid value for action: 'nope' is not one of: list, show, copy" in charlstm("config", "nope").err
    result = charlstm("config", "list")
    assert result.code == 0
    assert all(name in result.out for name in ready_configs())
    file = ready_configs()["quickstart"]
    assert charlstm("config", "show", "quickstart").out == file.read_text()
    assert charlstm("config", "copy", "quickstart").code == 0
    assert Path("quickstart.yaml").read_bytes() == file.read_bytes()
    assert charlstm("config", "copy", "rnn-vs-lstm", "mine.yaml").out.endswith("charlstm compare mine.yaml\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "quikstart"], "Did you mean quickstart?"),
        (["show"], "needs the name"),
        (["list", "names"], "list takes no name"),
        (["show", "names", "x.yaml"], "charlstm config copy names x.yaml"),
        (["copy", "names", "my tale.txt"], "my tale.txt exists"),
        (["list", "--schema"], "leave out list"),
        (["lst"], "'lst' is not one of"),
    ],
)
def test_wrong_use_of_ready_configurations(charlstm, arguments, message):
    result = charlstm("config", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_ready_configuration_is_trained_by_its_name(charlstm):
    result = charlstm("train", "names", "--set", "corpus.source=my tale.txt", *TINY)
    assert result.code == 0, result.err
    assert load_config(Path("runs/names/config.yaml")).training.batch_size == 128
    assert "names" in catalog_names()  # of the two, the configuration, which trains on that corpus
