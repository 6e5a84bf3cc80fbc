"""Commands whose output cannot be written or input not read: no result is lost in silence, and no step ever."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

import pytest

import charlstm as package
from charlstm import console
from charlstm.checkpoints.format import load_checkpoint
from charlstm.runs.directory import RunDirectory

ROOT = Path(package.__file__).parents[1]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
COMPARE = """\
corpus: {{source: {source}}}
training: {{batch_size: 4, sequence_length: 20, evaluate_every: 4, sample_length: 9, device: cpu, budget: {{steps: 8}}}}
model: {{hidden_size: 4, executor: eager}}
arms: {{one: {{model: {{cell: rnn}}}}, two: {{model: {{cell: gru}}}}}}
seeds: 1
"""


@contextmanager
def replaced(name: str, stream: TextIO) -> Iterator[None]:
    with stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, name, stream)
        yield
        console.streams.discard(stream)


def full(name: str = "stdout") -> AbstractContextManager[None]:
    """A full disk in the place of a stream."""
    return replaced(name, Path("/dev/full").open("w"))


def unread(name: str = "stdout") -> AbstractContextManager[None]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return replaced(name, os.fdopen(writer, "w"))


def gone(name: str = "stdout") -> AbstractContextManager[None]:
    """A terminal that has gone."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    os.close(master)
    return replaced(name, stream)


LOST: dict[str, Callable[[], AbstractContextManager[None]]] = {"full": full, "gone": gone}


@FULL
@pytest.mark.parametrize("how", LOST)
def test_training_goes_on_without_its_log(charlstm, config_file, monkeypatch, how):
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0)
    with LOST[how]():
        found = charlstm("train", config_file)
    assert found.code == 0
    assert RunDirectory(Path("runs/tiny")).finished
    assert Path("runs/tiny/report/index.html").exists()
    reason = os.strerror(errno.ENOSPC if how == "full" else errno.EIO)
    assert found.err.count(f"note: standard output cannot be written ({reason}): going on without it\n") == 1


def test_training_goes_on_without_its_notes(charlstm, config_file):
    with gone(), gone("stderr"):
        assert charlstm("train", config_file).code == 0
    assert RunDirectory(Path("runs/tiny")).finished


def test_training_that_nobody_reads_ends_saved(charlstm, config_file, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0)
    with unread():
        monkeypatch.setattr("charlstm.text.corpus.Corpus.describe", lambda _: "")
        monkeypatch.setattr(console, "out", _after(console.out, 2))
        found = charlstm("train", config_file)
    assert found.code == 128 + signal.SIGPIPE
    assert "nobody reads standard output any more: stopping after this step" in found.err
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["stop_reason"] == "stopped"
    step = load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"]
    assert 0 < step < 12
    assert charlstm("train", "runs/tiny", "--resume").code == 0


def _after(out: Callable[..., None], count: int) -> Callable[..., None]:
    """``out`` from the call with this number on."""
    calls: list[object] = []

    def call(*arguments: object, **named: object) -> None:
        calls.append(arguments)
        if len(calls) > count:
            out(*arguments, **named)

    return call


@FULL
def test_a_comparison_trains_on_and_misses_its_table(charlstm, config_file, corpus_file):
    Path("both.yaml").write_text(COMPARE.format(source=corpus_file))
    with full():
        found = charlstm("compare", "both.yaml")
    assert found.code == 2
    assert found.err.splitlines()[-1] == "error: standard output cannot be written: No space left on device"
    assert RunDirectory(Path("runs/both/one-seed1")).finished
    assert Path("runs/both/report/index.html").exists()


RESULTS = {
    "config": ("config",),
    "schema": ("config", "--schema"),
    "sample": ("sample", "RUN", "--length", 5),
    "stream": ("sample", "RUN", "--length", 5, "--stream"),
    "evaluate": ("evaluate", "RUN"),
    "compare": ("compare", "RUN"),
    "help": ("train", "--help"),
    "dry run": ("train", "tiny.yaml", "--dry-run"),
}


@FULL
@pytest.mark.parametrize("command", RESULTS)
def test_a_result_that_cannot_be_written(charlstm, config_file, tiny_run, tmp_path, command):
    arguments = [tiny_run if word == "RUN" else word for word in RESULTS[command]]
    if command == "compare":
        arguments += ["--name", "x"]
    for where, code in ((full, 2), (unread, 141)):
        with where():
            found = charlstm(*arguments)
        assert found.code == code
        said = [line for line in found.err.splitlines() if line.startswith("error")]
        assert len(said) == (code == 2)
        assert all("No space left on device" in line for line in said)
    with full("stderr"):
        assert charlstm(*arguments).code == 0


@pytest.mark.parametrize("option", ["--prime", "--infill"])
def test_standard_input_that_is_closed(charlstm, tiny_run, monkeypatch, option, tmp_path):
    with (tmp_path / "nothing").open("w") as closed:
        monkeypatch.setattr(sys, "stdin", open(closed.fileno(), closefd=False))  # noqa: SIM115
        found = charlstm("sample", tiny_run, option, "-")
    assert found.code == 2
    assert f"error: {option} -: cannot read it" in found.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_commands_write_what_a_stream_can_hold(charlstm, tiny_run, tmp_path, monkeypatch, encoding):
    path = tmp_path / "out"
    for arguments in (("sample", tiny_run, "--length", 5, "--json"), ("compare", tiny_run, "--name", "x"), ("config",)):
        with path.open("w", encoding=encoding) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.chdir(tmp_path)
            assert charlstm(*arguments).code == 0
        said = path.read_text(encoding)
        assert "\\u2500" not in said
        if "--json" in arguments:
            json.loads(said)


def test_a_process_without_any_stream_trains_to_its_end(config_file):
    """In an encoding that is not UTF-8, too."""
    command = 'exec "$0" -m charlstm train tiny.yaml --set model.executor=eager <&- >&- 2>&-'
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **plain, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command, sys.executable], env=environment, check=False)
    assert done.returncode == 0
    assert RunDirectory(Path("runs/tiny")).finished
    load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))
