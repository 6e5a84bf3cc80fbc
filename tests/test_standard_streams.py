"""Standard streams that are closed, full or gone, and those whose encoding lacks characters."""

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

ROOT = Path(package.__file__).parents[1]
NARROW = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])


class Failing(io.StringIO):
    """A stream that takes nothing."""

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
def test_a_result_that_cannot_be_written_is_an_error(monkeypatch, number):
    monkeypatch.setattr(sys, "stdout", Failing(number))
    with pytest.raises(UserError, match=f"^standard output cannot be written: {os.strerror(number)}$"):
        console.out("result")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_a_log_that_cannot_be_written_is_said_once(monkeypatch, capsys, number):
    stream = Failing(number)
    monkeypatch.setattr(sys, "stdout", stream)
    with console.as_log():
        console.out("lost")
        console.table([["lost"], ["too"]])
        stream.error = None  # there is room again
        console.out("heard")
    assert stream.lines == ["heard\n"]
    reason = os.strerror(number)
    assert capsys.readouterr().err == f"note: standard output cannot be written ({reason}): going on without it\n"


def test_a_stream_closed_by_this_process_is_an_error_too(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(UserError, match="standard output cannot be written"):
        console.out("result")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_notes_that_cannot_be_written_are_lost(monkeypatch, number):
    monkeypatch.setattr(sys, "stderr", Failing(number))
    console.note("note")
    console.error("error")


def test_a_gone_reader_can_be_handled(monkeypatch):
    stream, heard = Failing(errno.EPIPE), []
    stream.error = BrokenPipeError()
    monkeypatch.setattr(sys, "stdout", stream)
    with console.on_broken_pipe(lambda: heard.append("gone")):
        console.out("text")
    assert heard == ["gone"]
    with pytest.raises(SystemExit) as left:
        console.table([["a"], ["b"]])
    assert left.value.code == 141


def test_a_pipe_without_a_reader_is_seen(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert not streams.reader_gone()
        os.close(reader)
        assert streams.reader_gone()
        streams.discard(stream)


CLOSED = """
import json, os, sys
from charlstm import standard_streams as streams
streams.open_missing()
number = os.open(os.devnull, os.O_WRONLY)
found = [number]
for use in (lambda: streams.read_in(9), lambda: streams.write_out("x")):
    try: found.append(repr(use()))
    except BaseException as error: found.append(type(error).__name__)
streams.write_err("lost")
streams.flush()
os.write(int(sys.argv[1]), json.dumps(found).encode())
"""


def test_closed_streams_are_replaced_by_ones_that_fail():
    """No file that is opened later gets their numbers."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    command = f'exec "$0" -c "$1" {writer} <&- >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, CLOSED], pass_fds=[writer], env=environment, check=False
    )
    os.close(writer)
    with os.fdopen(reader) as said:
        number, read, written = json.load(said)
    assert (done.returncode, read, written) == (0, "OSError", "UserError")
    assert number > 2


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding, write_through=True))
    return content


@NARROW
def test_tables_are_plain_where_their_signs_are_lacking(monkeypatch, encoding):
    content = encoded(monkeypatch, encoding)
    console.table([["arm", "bits"], ["名 \u2028", "–"], ["b", "█▌▏"]], "a — title")
    title, header, rule, first, second = filter(None, map(str.rstrip, content.getvalue().decode(encoding).splitlines()))
    assert title == ("a — title" if encoding == "cp1252" else "a - title")
    assert set(rule.replace(" ", "")) == {"-"}
    assert first.split() == ["\\u540d", "\\u2028", "–" if encoding == "cp1252" else "-"]
    assert second.split() == ["b", "#||"]
    assert len({len(header), len(first), len(second)}) == 1


def test_tables_keep_their_signs_where_they_can(monkeypatch):
    content = encoded(monkeypatch, "utf-8")
    console.table([["arm"], ["–"]])
    assert "─" in content.getvalue().decode()


@NARROW
@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_json_on_every_stream(monkeypatch, encoding, indent):
    content = encoded(monkeypatch, encoding)
    value = {"text": "é 名 \udcff \x85 \x1b \u2028", "nats": math.inf, "all": [math.nan, (1, -0.5)]}
    console.out_json(value, indent)
    assert json.loads(content.getvalue().decode(encoding)) == {**value, "nats": None, "all": [None, [1, -0.5]]}


@pytest.mark.parametrize("terminal", [False, True])
def test_json_on_utf8_is_short_and_steers_no_terminal(monkeypatch, terminal):
    content = encoded(monkeypatch, "utf-8")
    monkeypatch.setattr(console, "is_terminal", lambda: terminal)
    value = {"text": "é \udcff \x9b"}
    console.out_json(value)
    said = content.getvalue().decode()
    assert json.loads(said) == value
    assert "é" in said
    assert ("\x9b" in said) == (not terminal)


@NARROW
def test_a_live_line_is_plain_where_its_bar_is_lacking(monkeypatch, encoding):
    content = encoded(monkeypatch, encoding)
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    with console.LiveLine() as line:
        line.update(0.5, lambda: "step 1 名")
        console.out("whole 名")
    said = content.getvalue().decode(encoding)
    assert "\\u540d" in said
    assert "50%" in said
    assert "#" in said
