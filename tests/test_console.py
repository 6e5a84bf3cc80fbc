"""Terminal output: text, tables, notes and the progress line."""

from __future__ import annotations

import fcntl
import io
import math
import os
import pty
import select
import struct
import sys
import termios
from contextlib import suppress

import pytest

from charlstm import console
from charlstm.progress_line import ProgressLine
from charlstm.training.events import Ended, Evaluated, Notice, Progress
from charlstm.training_progress import RunProgress
from charlstm.units import duration


class Terminal:
    """A pseudo-terminal for standard output, inside a ``with`` block."""

    def __init__(self, columns: int = 100, rows: int = 24) -> None:
        self._size = struct.pack("HHHH", rows, columns, 0, 0)

    def __enter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, self._size)
        self._file, self._previous = os.fdopen(slave, "w"), sys.stdout
        sys.stdout = self._file
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._previous
        self._file.close()
        os.close(self._master)

    def read(self) -> str:
        """The output since the last call."""
        output = b""
        with suppress(OSError):  # the other end is closed
            while select.select([self._master], [], [], 0.05)[0]:  # the output arrives in pieces
                output += os.read(self._master, 1 << 16)
        return output.decode()


def progress(step: int, fraction: float = 0.5) -> Progress:
    return Progress(step, 0.25, math.log(4), 1e-3, 0.5, 1234.0, fraction, 60.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3599.6, "1:00:00"),
        (5025, "1:23:45"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_terminal_that_reports_no_size_has_a_progress_line():
    with Terminal(0, 0) as terminal, ProgressLine() as line:
        line.update(0.5, lambda: "step 1")
        assert "50%|██████      | step 1" in terminal.read()


def test_progress_prints_plain_lines_without_a_terminal(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("charlstm.progress_line.time.monotonic", lambda: now[0])
    with ProgressLine("[a] ") as line:
        for step in range(21):
            line.update(step / 20, lambda step=step: f"step {step}")
            now[0] += 1.0
        console.out("whole")
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"[a] step {k}" for k in (0, 5, 10, 15, 20)] + ["whole"]
    assert captured.err == ""


def test_progress_text_is_made_only_when_printed(capsys):
    calls = []
    with ProgressLine() as line:
        for step in range(100):
            line.update(0.1, lambda step=step: calls.append(step) or "x")
    assert calls == [0]


@pytest.mark.parametrize("prefix", ["", "[{curly} %s arm] "])
def test_progress_updates_one_line_on_a_terminal(prefix):
    with Terminal() as terminal:
        with ProgressLine(prefix) as line:
            line.update(0.5, lambda: "step 7")
            console.out("whole")
        output = terminal.read()
    assert output.startswith(f"\r{prefix}  0%|")
    assert f"\r{prefix} 50%|" in output
    assert "\rwhole\r\n" in output


def test_force_color_does_not_color_tables_in_files(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console.table([["arm", "bits"], ["[bold]a[/bold]", "1.5"], [":smile:" * 20, "2.25"]], "a [red]title")
    output = capsys.readouterr().out
    assert "\x1b" not in output
    for text in ("[bold]a[/bold]", ":smile:" * 20, "a [red]title", "2.25"):
        assert text in output


def test_table_in_a_file_is_as_wide_as_its_cells(capsys):
    """Programs read it by line: no cell is wrapped, and no line ends with spaces."""
    console.table([["name", "text"], ["a", "word " * 100 + "end"], ["b", "c"]], "title", prose=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "title"
    assert any(line.endswith("word " * 100 + "end") for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_control_characters_are_escaped_on_a_terminal():
    with Terminal():
        text = console.escape_for_terminal("a\x1b[2J\r\n\tb\u202e")
    assert text == "a\\x1b[2J\\r\n\tb\\u202e"


def test_text_is_unchanged_without_a_terminal(capsys):
    assert console.escape_for_terminal("a\x1b[2J\r\n") == "a\x1b[2J\r\n"


def test_errors_and_notes_go_to_standard_error(capsys):
    console.note("n")
    console.error("e")
    console.out("o")
    console.out("p", end="")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("o\np", "n\nerror: e\n")


def test_closed_pipe_exits_with_code_141(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(SystemExit) as exited:
            console.out("text")
        assert exited.value.code == 141
        file.write("later output is discarded")


def test_hang_up_stops_terminal_output_only(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as log, Terminal() as terminal:
        monkeypatch.setattr(sys, "stderr", log)
        console.out("before")
        assert terminal.read() == "before\r\n"
        console.detach_terminal()
        console.out("after")
        console.note("logged")
        assert terminal.read() == ""
    assert (tmp_path / "log").read_text() == "logged\n"


def test_hang_up_ignores_streams_without_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console.detach_terminal()
    console.out("still there")
    assert sys.stdout.getvalue() == "still there\n"


def test_progress_prints_training_events(capsys):
    events = [
        Notice("too short"),
        progress(1),
        Evaluated(2, 0.5, math.log(4), 10, False, True, math.log(4), "a\x1bb\nc\rd"),
        Evaluated(3, 0.5, math.log(8), 10, True, False, math.log(4), ""),
        Ended("budget", 3, 1.0, 2, 1.0, 100),
    ]
    with RunProgress("[x] ") as run:
        for event in events:
            run.show(event)
    assert capsys.readouterr().out.splitlines() == [
        "[x] too short",
        "[x] step 1 epoch 0.25  loss 1.386 nats, 2.000 bits/char  1,234 char/s  1:00 left",
        "[x] step 2 epoch 0.50  held out 1.3863 nats, 2.0000 bits per character  (best so far)",
        "    a\\x1bb",
        "    c\\rd",
        "[x] step 3 epoch 0.50  pseudo-likelihood 2.0794 nats, 3.0000 bits per character",
    ]


def test_seconds_left():
    assert progress(1, 0.25).seconds_left == pytest.approx(180)
    assert progress(1, 1.0).seconds_left == 0
    assert progress(1, 0.0).seconds_left == math.inf
