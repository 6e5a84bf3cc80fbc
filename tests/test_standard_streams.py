"""Standard streams that are closed, full or disconnected, or whose encoding lacks characters."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import charlstm as package
from charlstm import console
from charlstm import standard_streams as streams
from charlstm.errors import UserError
from charlstm.progress_line import ProgressLine

ROOT = Path(package.__file__).parents[1]
NARROW = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])


class Failing(io.StringIO):
    """A stream whose writes fail while `error` is set."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.error: OSError | None = OSError(number, os.strerror(number))
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        self.lines.append(text)
        return len(text)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_unwritable_result_is_an_error(monkeypatch, number):
    monkeypatch.setattr(sys, "stdout", Failing(number))
    with pytest.raises(UserError, match=f"^standard output cannot be written: {os.strerror(number)}$"):
        console.out("result")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_unwritable_log_is_noted_once(monkeypatch, capsys, number):
    stream = Failing(number)
    monkeypatch.setattr(sys, "stdout", stream)
    with console.as_log():
        console.out("lost")
        console.table([["lost"], ["too"]])
        stream.error = None
        console.out("written")
    assert stream.lines == ["written\n"]
    reason = os.strerror(number)
    assert capsys.readouterr().err == f"note: standard output cannot be written ({reason}): continuing without it\n"


def test_closed_stream_is_an_error(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(UserError, match="standard output cannot be written"):
        console.out("result")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_unwritable_notes_are_ignored(monkeypatch, number):
    monkeypatch.setattr(sys, "stderr", Failing(number))
    console.note("note")
    console.error("error")


def test_broken_pipe_calls_the_handler(monkeypatch):
    stream, calls = Failing(errno.EPIPE), []
    stream.error = BrokenPipeError()
    monkeypatch.setattr(sys, "stdout", stream)
    with console.on_broken_pipe(lambda: calls.append("closed")):
        console.out("text")
    assert calls == ["closed"]
    with pytest.raises(SystemExit) as exited:
        console.table([["a"], ["b"]])
    assert exited.value.code == 141


def test_reader_gone_detects_a_closed_pipe(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert not streams.is_pipe_closed()
        os.close(reader)
        assert streams.is_pipe_closed()
        streams.redirect_to_null(stream)


CLOSED = """
import json, os, sys
from charlstm import standard_streams as streams
streams.open_missing()
number = os.open(os.devnull, os.O_WRONLY)
results = [number]
for use in (lambda: streams.read_stdin(9), lambda: streams.write_out("x")):
    try: results.append(repr(use()))
    except BaseException as error: results.append(type(error).__name__)
streams.write_err("lost")
streams.flush()
os.write(int(sys.argv[1]), json.dumps(results).encode())
"""


def test_closed_streams_are_replaced_by_failing_ones():
    """Files opened later do not get their file descriptors."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    command = f'exec "$0" -c "$1" {writer} <&- >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, CLOSED], pass_fds=[writer], env=environment, check=False
    )
    os.close(writer)
    with os.fdopen(reader) as results:
        number, read, written = json.load(results)
    assert (done.returncode, read, written) == (0, "OSError", "UserError")
    assert number > 2


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding, write_through=True))
    return content


@NARROW
def test_tables_use_ascii_if_the_encoding_lacks_lines(monkeypatch, encoding):
    content = encoded(monkeypatch, encoding)
    console.table([["arm", "bits"], ["名 \u2028", "–"], ["b", "█▌▏"]], "a — title")
    title, header, rule, first, second = filter(None, map(str.rstrip, content.getvalue().decode(encoding).splitlines()))
    assert title == ("a — title" if encoding == "cp1252" else "a - title")
    assert set(rule.replace(" ", "")) == {"-"}
    assert first.split() == ["\\u540d", "\\u2028", "–" if encoding == "cp1252" else "-"]
    assert second.split() == ["b", "#||"]
    assert len({len(header), len(first), len(second)}) == 1


def test_tables_use_box_characters_in_utf8(monkeypatch):
    content = encoded(monkeypatch, "utf-8")
    console.table([["arm"], ["–"]])
    assert "─" in content.getvalue().decode()


@NARROW
@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_valid_in_every_encoding(monkeypatch, encoding, indent):
    content = encoded(monkeypatch, encoding)
    value = {"text": "é 名 \udcff \x85 \x1b \u2028", "nats": math.inf, "all": [math.nan, (1, -0.5)]}
    console.out_json(value, indent)
    assert json.loads(content.getvalue().decode(encoding)) == {**value, "nats": None, "all": [None, [1, -0.5]]}


@pytest.mark.parametrize("terminal", [False, True])
def test_json_escapes_only_what_the_stream_needs(monkeypatch, terminal):
    content = encoded(monkeypatch, "utf-8")
    monkeypatch.setattr(console, "is_terminal", lambda *_: terminal)
    value = {"text": "é \udcff \x9b"}
    console.out_json(value)
    output = content.getvalue().decode()
    assert json.loads(output) == value
    assert "é" in output
    assert ("\x9b" in output) == (not terminal)


@NARROW
def test_progress_bar_uses_ascii_if_needed(monkeypatch, encoding):
    content = encoded(monkeypatch, encoding)
    monkeypatch.setattr(console, "is_terminal", lambda *_: True)
    with ProgressLine() as line:
        line.update(0.5, lambda: "step 1 名")
        console.out("whole 名")
    output = content.getvalue().decode(encoding)
    assert "\\u540d" in output
    assert "50%" in output
    assert "#" in output
