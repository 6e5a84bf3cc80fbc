"""``charlstm sample --interactive`` on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import charlstm as package
from charlstm.cli.interactive.editor import Editor
from charlstm.cli.interactive.keys import Key
from charlstm.generation import Sampling
from charlstm.generation.session import Session

Steps = tuple[tuple[str, str | Callable[[], object]], ...]
READY = "continuation 1"
PATIENCE = 20  # seconds


class Terminal:
    """A pseudo-terminal whose user waits for an output, then presses keys or does something else."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.resize(80, 14)
        self.reader, self.writer = os.fdopen(slave, "r"), os.fdopen(os.dup(slave), "w")
        self.attributes = self.current_attributes()
        self.output = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def current_attributes(self) -> list[object]:
        return termios.tcgetattr(self.reader)

    def close(self) -> None:
        """As when an SSH connection breaks."""
        master, self.master = self.master, -1
        os.close(master)

    def follow(self, steps: Steps) -> None:
        """Do one step after the other. Closes the terminal if an output does not come."""
        seen = ""
        for expected, action in steps:
            while expected not in seen:
                seen += self._read()
            seen = ""
            if isinstance(action, str):
                os.write(self.master, action.encode())
            else:
                action()
        while self.master >= 0 and self._read():
            pass

    def _read(self) -> str:
        if not select.select([self.master], [], [], PATIENCE)[0]:
            self.close()
            raise TimeoutError
        try:
            piece = os.read(self.master, 1 << 16).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            return ""
        self.output += piece
        return piece

    @property
    def frames(self) -> list[list[str]]:
        """The rows of each screen that was drawn, without styles."""
        screens = self.output.split("\x1b[?1049l")[0].split("\x1b[?25l\x1b[H")[1:]
        return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", screen).split("\n") for screen in screens]

    @property
    def printed(self) -> str:
        """What was printed after the screen was left."""
        return self.output.rpartition("\x1b[?1049l")[2].replace("\r\n", "\n")


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    for stream in (opened.reader, opened.writer):
        stream.close()
    if opened.master >= 0:
        opened.close()


@pytest.fixture
def interactive(terminal, tiny_run, charlstm, monkeypatch):
    """Runs the command on the terminal in this process, while another thread follows the steps."""

    monkeypatch.setenv("TERM", "xterm")

    def run(*options, steps, stdout=True):
        user = threading.Thread(target=terminal.follow, args=(steps,), daemon=True)
        user.start()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", terminal.reader)
            patch.setattr(sys, "stdout" if stdout else "stderr", terminal.writer)
            result = charlstm("sample", tiny_run, "--interactive", "--seed", 3, *options)
        if terminal.master >= 0:
            assert terminal.current_attributes() == terminal.attributes
        terminal.reader.close()
        terminal.writer.close()
        user.join(10)
        assert not user.is_alive()
        return result

    return run


def written(tiny_run: Path, *names: str, prime: str = "", length: int = 80, **sampling: float) -> str:
    run = package.load(tiny_run)
    session = Session(run.model, run.vocabulary, Sampling(**sampling), 3, run.lead_ins)
    session.accept(session.encode(prime))
    editor = Editor(session, length=length)
    for name in names:
        editor.press(Key(name))
    return session.text


def test_text_is_written_together_and_printed(interactive, terminal, tiny_run):
    options = ("--prime", "the ", "--temperature", 0.7, "--top-k", 9, "--length", 30)
    result = interactive(
        *options, steps=((READY, "\x1b[B"), ("continuation 2", "\t"), (READY, "\x1b[C"), (READY, "\x04"))
    )
    text = written(tiny_run, "down", "tab", "right", prime="the ", length=30, temperature=0.7, top_k=9)
    assert (result.code, result.err, terminal.printed) == (0, "", text + "\n")
    assert len(text) > 20
    assert "temperature 0.7" in terminal.frames[0][-3]
    assert "".join(terminal.frames[0]).startswith("the ")


def test_text_goes_into_a_file_while_the_screen_is_on_standard_error(interactive, terminal, tiny_run):
    result = interactive(steps=((READY, "\t"), (READY, "\x04")), stdout=False)
    assert (result.code, result.out) == (0, written(tiny_run, "tab") + "\n")
    assert terminal.printed == ""


def test_interrupt_prints_the_text(interactive, terminal, tiny_run):
    steps = ((READY, "\t"), (READY, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert interactive(steps=steps).code == 130
    assert terminal.printed == written(tiny_run, "tab") + "\n"


def test_bug_restores_the_terminal_and_prints_the_text(interactive, terminal, monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path))
    monkeypatch.setattr(Editor, "press", lambda *_: 1 / 0)
    result = interactive("--prime", "the cat", steps=((READY, "\t"),))
    assert (result.code, terminal.printed) == (1, "the cat\n")
    assert "ZeroDivisionError" in result.err


def test_nothing_is_printed_of_an_empty_text(interactive, terminal):
    assert interactive(steps=((READY, "\x04"),)).code == 0
    assert terminal.printed == ""


def test_screen_follows_the_size_of_the_terminal(interactive, terminal):
    steps = (
        (READY, lambda: terminal.resize(40, 8)),
        ("─" * 40 + "\x1b[0m", lambda: terminal.resize(20, 4)),
        ("\x1b[2m", "\x04"),
    )
    assert interactive("--prime", "the cat sat on a mat and saw two dogs run home", steps=steps).code == 0
    assert {len(frame) for frame in terminal.frames} == {14, 8, 4}
    assert all(len(row) <= 40 for frame in terminal.frames[2:] for row in frame)


def test_closed_terminal_saves_the_text_in_a_file(interactive, terminal, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = interactive(steps=((READY, "\t"), (READY, terminal.close)))
    (file,) = tmp_path.glob("interactive-*.txt")
    assert file.read_text() == written(tiny_run, "tab")
    assert result.code == 2
    assert f"the text is saved in {file.name}" in result.err


def test_suspended_process_gives_the_terminal_back(interactive, terminal, monkeypatch):
    suspended = []

    def kill(pid: int, number: int) -> None:
        suspended.append((number, terminal.current_attributes(), signal.getsignal(signal.SIGTSTP)))

    monkeypatch.setattr(os, "kill", kill)
    before = signal.getsignal(signal.SIGTSTP)
    steps = ((READY, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGTSTP)), (READY, "\x04"))
    assert interactive(steps=steps).code == 0
    assert suspended == [(signal.SIGTSTP, terminal.attributes, signal.SIG_DFL)]
    assert terminal.output.count("\x1b[?1049h") == terminal.output.count("\x1b[?1049l") == 2
    assert signal.getsignal(signal.SIGTSTP) is before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "standard input is not one: use --prime"),
        (("--num-samples", 2), "--num-samples has no effect with --interactive"),
        (("--json",), "--json has no effect with --interactive"),
        (("--novelty",), "--novelty has no effect with --interactive"),
        (("--until", "x"), "--until has no effect with --interactive"),
        (("--stream",), "--stream has no effect with --interactive"),
        (("--suffix", "x"), "--suffix has no effect with --interactive"),
        (("--infill", "x_"), "--infill has no effect with --interactive"),
        *(((f"--{name}", 8), f"--{name} has no effect with --interactive") for name in ("regex", "beam", "no-repeat")),
        (("--temperature", "1.2:0.6"), "--temperature 1.2:0.6: with --interactive, keys change the temperature"),
        (("--length", 0), "--length must be at least 1"),
        (("--temperature", 0, "--top-k", 3), "--top-k has no effect with --temperature 0"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_use_is_refused_in_one_line(charlstm, tiny_run, options, message):
    result = charlstm("sample", tiny_run, "--interactive", *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert message in result.err


@pytest.mark.parametrize(
    ("name", "message"),
    [("xterm", "neither standard output nor standard error is one"), ("dumb", "TERM is dumb or not set")],
)
def test_unsuitable_terminal_is_refused(charlstm, tiny_run, terminal, monkeypatch, name, message):
    monkeypatch.setattr(sys, "stdin", terminal.reader)
    monkeypatch.setenv("TERM", name)
    result = charlstm("sample", tiny_run, "--interactive")
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(("direction", "instead"), [("backward", "--suffix"), ("bidirectional", "--infill")])
def test_other_directions_are_refused(charlstm, make_trainer, make_config, tmp_path, direction, instead):
    make_trainer(make_config({"direction": direction}, budget={"steps": 1}, sample_length=0))
    result = charlstm("sample", tmp_path / "run", "--interactive")
    assert result.code == 2
    assert f"direction: {direction}: use {instead}" in result.err.replace("fill gaps with", "use")
