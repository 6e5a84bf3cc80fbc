from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from commands import call

from charlstm.cells import CELLS
from charlstm.executors.cpp import build
from charlstm.generation.cpp_decoder import decoder_library

CONFIG = """\
corpus:
  source: {source}
model:
  hidden_size: 8
training:
  batch_size: 4
  sequence_length: 20
  learning_rate: 1e-2
  warmup_steps: 3
  evaluate_every: 6
  sample_length: 12
  precision: float32
  device: cpu
  budget:
    steps: 12
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _undrawn(
    undrawn_plots: Callable[..., AbstractContextManager[None]], request: pytest.FixtureRequest
) -> Iterator[None]:
    with undrawn_plots(*(() if "drawn_plots" in request.fixturenames else ("png", "svg"))):
        yield


@pytest.fixture(scope="session")
def compiled_kernels() -> None:
    """The kernels of the configuration below: the note about their compilation is in no command's output."""
    build.kernels(CELLS["lstm"], torch.float32)
    decoder_library(torch.float32)


@pytest.fixture
def charlstm(capsys: pytest.CaptureFixture[str], compiled_kernels: None) -> Run:
    """Runs a command in this process, away from a terminal."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = call(arguments)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process with a terminal for its standard output."""

    def run(*arguments: object) -> Result:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            code = call(arguments)
            os.set_blocking(master, False)
            output = b""
            try:
                while piece := os.read(master, 1 << 16):
                    output += piece
            except BlockingIOError:
                pass
        os.close(master)
        return Result(code, output.decode("utf-8").replace("\r\n", "\n"), "")

    return run


@pytest.fixture
def config_file(tmp_path: Path, corpus_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in an empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "tiny.yaml"
    path.write_text(CONFIG.format(source=corpus_file))
    return path
