"""Completion in bash, zsh and fish: commands, options, runs, configurations, fields, and other words."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlstm.cli.completion import join_words


@pytest.fixture(autouse=True)
def run(config_file, tiny_run) -> Path:
    """A run `tiny` and the configuration `tiny.yaml` in the working directory."""
    shutil.copytree(tiny_run, "runs/tiny")
    shutil.copytree(tiny_run, "runs/versus/lstm-seed1")
    Path("configs").mkdir()
    Path("configs/big.yaml").touch()


@pytest.fixture
def complete(charlstm, monkeypatch):
    """The completions of the last word in bash, which cuts words at =."""

    def words(*line: str) -> list[str]:
        cut = [part for word in line for part in (re.findall(r"=|[^=]+", word) or [""])]
        monkeypatch.setenv("_CHARLSTM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["charlstm", *cut]))
        monkeypatch.setenv("COMP_CWORD", str(len(cut)))
        result = charlstm()
        assert (result.code, result.err) == (0, "")
        return result.out.split()

    return words


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        (["ru"], ["runs"]),
        (["sample", "--temp"], ["--temperature"]),
        (["sample", ""], ["latest", "tiny"]),
        (["sample", "ti"], ["tiny"]),
        (["sample", "tiny", "--average-with", "ti"], ["tiny"]),
        (["evaluate", "versus/"], ["versus/lstm-seed1"]),
        (["inspect", "tiny", "l"], ["latest"]),
        (["compare", "ti"], ["tiny", "tiny.yaml"]),
        (["train", "qu"], ["quickstart"]),
        (["train", "names"], ["names"]),
        (["train", "pyth"], ["python-functions", "python-stdlib"]),
        (["train", "configs/"], ["configs/big.yaml"]),
        (
            ["train", "--resume", "tiny"],
            ["tiny", "tiny.yaml", "tinyshakespeare-large", "tinyshakespeare-regularized", "tinyshakespeare"],
        ),
        (["train", "run"], ["runs/"]),
        (
            ["train", "--resume", "--runs", "runs/versus", "l"],
            ["latest", "lstm-seed1", "leaky", "linux-drivers", "linux", "lstm-1997"],
        ),
        (["train", "--set", "model.hidden_s"], ["model.hidden_size=", "model.hidden_size=256"]),
        (["train", "--set", "model.hidden_size="], ["256"]),
        (["train", "--set", "model.cell=l"], ["leaky", "lstm"]),
        (["train", "--set", "model.cell=lstm", "--set", "training.schedule=co"], ["constant", "cosine"]),
        (["train", "--set", "model.highway="], ["true", "false"]),
        (["train", "--set", "corpus.source=tiny"], ["tinyshakespeare"]),
        (["train", "--device", "cuda"], ["cuda", "cuda:0"]),
        (["compare", "--keep", "n"], ["nothing"]),
        (["sweep", "cell"], ["cell-and-rate"]),
        (["sweep", "--set", "tria"], ["trials=", "trials=null"]),
        (["compare", "--set", "matc"], ["match=", "match=parameters", "match=width"]),
        (["bench", "--cell", "gru"], ["gru", "gru_reset_before"]),
        (["bench", "--executor", "c"], ["cpp"]),
        (["evaluate", "tiny", "--split", ""], ["validation", "test", "train"]),
        (["train", "--set", "nothing="], []),
        (["evaluate", "/nowhere"], []),
    ],
)
def test_completions(complete, line, completions):
    assert complete(*line) == completions


def test_zsh_and_fish(charlstm, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "charlstm train --set model.cell=l")
    monkeypatch.setenv("_CHARLSTM_COMPLETE", "complete_zsh")
    assert '"model.cell=leaky"\n"model.cell=lstm"' in charlstm().out
    monkeypatch.setenv("_CHARLSTM_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert charlstm().out == "model.cell=leaky\nmodel.cell=lstm\n"
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    assert charlstm().code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_a_shell(charlstm, monkeypatch, shell):
    monkeypatch.setenv("_CHARLSTM_COMPLETE", f"source_{shell}")
    result = charlstm()
    assert result.code == 0
    assert f"_CHARLSTM_COMPLETE=complete_{shell}" in result.out


@pytest.mark.parametrize(
    ("words", "index", "joined", "prefix"),
    [
        ("c t --set a = b", 5, "c t --set a=b", "a="),
        ("c t --set a =", 4, "c t --set a=", "a="),
        ("c t --set a = b x", 6, "c t --set a=b x", ""),
        ("c t --runs = d --set a = b", 8, "c t --runs=d --set a=b", "a="),
        ("c t", 1, "c t", ""),
    ],
)
def test_words_that_bash_cut_are_joined(words, index, joined, prefix):
    environment = {"COMP_WORDS": words.replace(" ", "\n"), "COMP_CWORD": str(index)}
    assert join_words(environment) == prefix
    assert environment["COMP_WORDS"].replace("\n", " ") == joined
    assert int(environment["COMP_CWORD"]) == len(joined.split()) - 1


def test_invalid_variables_of_a_shell_are_ignored():
    for environment in ({}, {"COMP_WORDS": "a", "COMP_CWORD": "7"}, {"COMP_WORDS": "a", "COMP_CWORD": "x"}):
        before = dict(environment)
        assert join_words(environment) == ""
        assert environment == before


def test_completion_loads_no_torch():
    code = (
        "import os, sys; os.environ.update(_CHARLSTM_COMPLETE='complete_bash', COMP_CWORD='3',"
        " COMP_WORDS='charlstm\\ntrain\\n--set\\nmodel.hidden_s'); sys.argv = ['charlstm']\n"
        "from charlstm import cli\n"
        "try: cli.main()\nexcept SystemExit: print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "model.hidden_size=\nmodel.hidden_size=256\n[]\n", result.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_in_a_real_bash(tmp_path):
    program = tmp_path / "bin" / "charlstm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom charlstm.cli import main\nmain()\n")
    program.chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(PATH=f"{program.parent}:{os.environ['PATH']}", PS1="$ ", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

    def expect(text: str) -> None:
        output, end = "", time.monotonic() + 60
        while text not in output:
            assert time.monotonic() < end, output
            if select.select([terminal], [], [], 1)[0]:
                output += os.read(terminal, 4096).decode()

    try:
        os.write(terminal, b'eval "$(_CHARLSTM_COMPLETE=source_bash charlstm)"; echo rea""dy\n')
        expect("ready")
        os.write(terminal, b"charlstm train --set model.cell=ls\t")
        expect("model.cell=lstm ")
        os.write(terminal, b"x.yaml\x15charlstm sample ti\t")
        expect("sample tiny ")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(pid, 0)
