"""Output that cannot be written and input that cannot be read: no result is lost silently, and no training step."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

import pytest

import charlstm as package
from charlstm import console
from charlstm.__main__ import main as start
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
        console.streams.redirect_to_null(stream)


def full(name: str = "stdout") -> AbstractContextManager[None]:
    """A full disk as a stream."""
    return replaced(name, Path("/dev/full").open("w"))


def closed_pipe(name: str = "stdout") -> AbstractContextManager[None]:
    """A pipe whose reader has closed it."""
    reader, writer = os.pipe()
    os.close(reader)
    return replaced(name, os.fdopen(writer, "w"))


def closed_terminal(name: str = "stdout") -> AbstractContextManager[None]:
    """A terminal that was closed."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    os.close(master)
    return replaced(name, stream)


LOST: dict[str, Callable[[], AbstractContextManager[None]]] = {"full": full, "closed": closed_terminal}


@FULL
@pytest.mark.parametrize("how", LOST)
def test_training_continues_without_its_log(charlstm, config_file, monkeypatch, how):
    monkeypatch.setattr("charlstm.progress_line.PLAIN_INTERVAL", 0)
    with LOST[how]():
        result = charlstm("train", config_file)
    assert result.code == 0
    assert RunDirectory(Path("runs/tiny")).finished
    assert Path("runs/tiny/report/index.html").exists()
    reason = os.strerror(errno.ENOSPC if how == "full" else errno.EIO)
    assert result.err.count(f"note: standard output cannot be written ({reason}): continuing without it\n") == 1


def test_training_continues_without_its_notes(charlstm, config_file):
    with closed_terminal(), closed_terminal("stderr"):
        assert charlstm("train", config_file).code == 0
    assert RunDirectory(Path("runs/tiny")).finished


def test_closed_pipe_saves_and_stops_training(charlstm, config_file, monkeypatch):
    monkeypatch.setattr("charlstm.progress_line.PLAIN_INTERVAL", 0)
    with closed_pipe():
        monkeypatch.setattr("charlstm.text.corpus.Corpus.describe", lambda _: "")
        monkeypatch.setattr(console, "out", _after(console.out, 2))
        result = charlstm("train", config_file)
    assert result.code == 128 + signal.SIGPIPE
    assert "standard output is closed: stopping after this step" in result.err
    assert RunDirectory(Path("runs/tiny")).metrics()[-1]["stop_reason"] == "stopped"
    step = load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))[1]["counters"]["step"]
    assert 0 < step < 12
    assert charlstm("train", "runs/tiny", "--resume").code == 0


def _after(out: Callable[..., None], count: int) -> Callable[..., None]:
    """``out``, without the first ``count`` calls."""
    calls: list[object] = []

    def call(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) > count:
            out(*args, **kwargs)

    return call


@FULL
def test_comparison_without_output_trains_and_fails_last(charlstm, config_file, corpus_file):
    Path("both.yaml").write_text(COMPARE.format(source=corpus_file))
    with full():
        result = charlstm("compare", "both.yaml")
    assert result.code == 2
    assert result.err.splitlines()[-1] == "error: standard output cannot be written: No space left on device"
    assert RunDirectory(Path("runs/both/one-seed1")).finished
    assert Path("runs/both/report/index.html").exists()


@contextmanager
def pipe_read_by(read: Callable[[int], None], buffered: bool = True) -> Iterator[None]:
    """A pipe as standard output, which another thread reads, and then closes."""
    reader, writer = os.pipe()

    def read_and_close() -> None:
        read(reader)
        os.close(reader)

    thread = threading.Thread(target=read_and_close)
    thread.start()
    stream = os.fdopen(writer, "w") if buffered else io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)
    with replaced("stdout", stream):
        yield
        stream.flush()
        console.streams.redirect_to_null(stream)
        thread.join()


@pytest.mark.parametrize("buffered", [True, False])
def test_reader_that_closes_the_pipe_within_a_text_ends_the_command(charlstm, tiny_run, buffered):
    with pipe_read_by(lambda reader: os.read(reader, 100), buffered):
        result = charlstm("sample", tiny_run, "--length", 150_000, "--seed", 1, "--no-stream")
    assert (result.code, result.err) == (128 + signal.SIGPIPE, "")


def test_text_is_streamed_into_a_pipe(charlstm, tiny_run):
    with pipe_read_by(lambda reader: os.read(reader, 100)):
        result = charlstm("sample", tiny_run, "--length", 10**12, "--seed", 1)
    assert (result.code, result.err) == (128 + signal.SIGPIPE, "")
    pieces: list[bytes] = []

    def read(reader: int) -> None:
        while piece := os.read(reader, 1 << 16):
            pieces.append(piece)

    with pipe_read_by(read):
        charlstm("sample", tiny_run, "--length", 300, "--seed", 1)
    assert b"".join(pieces).decode() == charlstm("sample", tiny_run, "--length", 300, "--seed", 1).out


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
def test_result_that_cannot_be_written_is_an_error(charlstm, config_file, tiny_run, tmp_path, command):
    arguments = [tiny_run if word == "RUN" else word for word in RESULTS[command]]
    if command == "compare":
        arguments += ["--name", "x"]
    for make_stream, code in ((full, 2), (closed_pipe, 141)):
        with make_stream():
            result = charlstm(*arguments)
        assert result.code == code
        errors = [line for line in result.err.splitlines() if line.startswith("error")]
        assert len(errors) == (code == 2)
        assert all("No space left on device" in line for line in errors)
    with full("stderr"):
        assert charlstm(*arguments).code == 0


@pytest.mark.parametrize("option", ["--prime", "--infill"])
def test_closed_standard_input_is_an_error(charlstm, tiny_run, monkeypatch, option, tmp_path):
    with (tmp_path / "nothing").open("w") as closed:
        monkeypatch.setattr(sys, "stdin", open(closed.fileno(), closefd=False))  # noqa: SIM115
        result = charlstm("sample", tiny_run, option, "-")
    assert result.code == 2
    assert f"error: {option} -: cannot read it" in result.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_adapts_to_the_encoding_of_the_stream(charlstm, tiny_run, tmp_path, monkeypatch, encoding):
    path = tmp_path / "out"
    for arguments in (("sample", tiny_run, "--length", 5, "--json"), ("compare", tiny_run, "--name", "x"), ("config",)):
        with path.open("w", encoding=encoding) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.chdir(tmp_path)
            assert charlstm(*arguments).code == 0
        output = path.read_text(encoding)
        assert "\\u2500" not in output
        if "--json" in arguments:
            json.loads(output)


def test_process_without_streams_completes_training(config_file):
    """With an encoding other than UTF-8."""
    command = 'exec "$0" -m charlstm train tiny.yaml --set model.executor=eager <&- >&- 2>&-'
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **plain, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command, sys.executable], env=environment, check=False)
    assert done.returncode == 0
    assert RunDirectory(Path("runs/tiny")).finished
    load_checkpoint(Path("runs/tiny/checkpoints/last.safetensors"))


def test_interrupt_while_modules_are_imported_ends_in_silence(monkeypatch, capfd):
    class Importing:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "charlstm.cli", Importing())
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "")
