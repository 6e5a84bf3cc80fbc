"""Damaged runs: each command ends at once with one line and exit code 2, or ignores the damage."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from charlstm.checkpoints.format import load_checkpoint, pack
from charlstm.comparison import collect
from charlstm.report.document import Document
from charlstm.run_report import page

IGNORED, REFUSED = 0, 2
COMMANDS = {
    "sample": ("sample", "RUN", "--length", "5", "--seed", "1"),
    "evaluate": ("evaluate", "RUN", "--text", "TEXT"),
    "compare": ("compare", "RUN"),
    "resume": ("train", "RUN", "--resume"),
}
IRREGULAR = {
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
    "nowhere": lambda path: path.symlink_to("nowhere"),
    "device": lambda path: path.symlink_to("/dev/zero"),
}
BROKEN = {
    "nothing": lambda path: path.touch(),
    "number": lambda path: path.write_bytes(b"5\n"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 300),
}
ALL = frozenset(COMMANDS)
METRICS_READERS = frozenset(("compare", "resume"))
FILES = {
    "config.yaml": (ALL, ALL),
    "metrics.jsonl": (METRICS_READERS, METRICS_READERS),
    "samples.txt": ({"resume"}, ()),
    ".lock": ({"resume"}, ()),
    "checkpoints": (ALL, ALL),
    "checkpoints/last.safetensors": ({"resume"}, ()),
    "checkpoints/best.safetensors": ({"resume"}, ()),
    "report": (METRICS_READERS, METRICS_READERS),
    "report/index.html": ((), ()),
}
"""File -> the commands that refuse an irregular file of this name, and those that refuse a broken file."""
EXCEPTIONS = {
    ("metrics.jsonl", "nothing"): (),
    ("report", "folder"): (),
    ("report/index.html", "folder"): {"compare"},  # the run is finished: --resume writes no report
}


@pytest.fixture
def run(tmp_path, tiny_run, monkeypatch):
    """A copy of the run; its report is replaced by a short one."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    (folder / "report").mkdir()
    monkeypatch.setattr(page.RunReport, "document", lambda _: Document("x", ["x"], []))
    monkeypatch.setattr(collect, "SAMPLE_LENGTH", 5)
    return folder


def outcome(charlstm, command, run, text):
    words = [{"RUN": run, "TEXT": text}.get(word, word) for word in COMMANDS[command]]
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(300)  # a read from a pipe would wait forever
    try:
        result = charlstm(*words)
    finally:
        signal.alarm(0)
    if result.code == REFUSED:
        (line,) = result.err.splitlines()[-1:]
        assert line.startswith("error: "), result.err
        assert str(run) in line
        assert len(line) < 1000
    return result.code


@pytest.mark.parametrize("damage", [*IRREGULAR, *BROKEN])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.few(36)
def test_commands_refuse_or_ignore_damaged_files(name, damage, run, charlstm, corpus_file):
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    {**IRREGULAR, **BROKEN}[damage](path)
    refuse = EXCEPTIONS.get((name, damage), FILES[name][damage in BROKEN])
    commands = COMMANDS if damage == "pipe" or name.startswith(("config", "checkpoints")) else METRICS_READERS
    result = {
        command: outcome(charlstm, command, run, corpus_file) for command in sorted(commands, key=[*COMMANDS].index)
    }
    assert result == {command: REFUSED if command in refuse else IGNORED for command in commands}


def test_overflowing_weights_are_refused(run, charlstm, corpus_file):
    file = run / "checkpoints" / "best.safetensors"
    tensors, header = load_checkpoint(file)
    tensors |= {name: torch.where(t > 0, 3e38, -3e38) for name, t in tensors.items() if name.startswith("model.")}
    file.write_bytes(b"".join(pack(tensors, header)))
    for command in ("sample", "evaluate", "compare"):
        words = [{"RUN": run, "TEXT": corpus_file}.get(word, word) for word in COMMANDS[command]]
        result = charlstm(*words)
        assert result.code == REFUSED
        assert "weights are too large" in result.err


def test_runs_with_circular_symlinks_are_refused(run, charlstm, corpus_file):
    other = run.with_name("other")
    shutil.copytree(run, other)
    for name in ("metrics.jsonl", "samples.txt", "report", "checkpoints"):
        for here, there in ((run, other), (other, run)):
            shutil.rmtree(here / name) if (here / name).is_dir() else (here / name).unlink()
            (here / name).symlink_to(there / name)
    assert {outcome(charlstm, command, run, corpus_file) for command in COMMANDS} == {REFUSED}


def test_run_without_space_for_its_report_is_complete(charlstm, config_file, monkeypatch):
    monkeypatch.setattr(page.RunReport, "document", lambda _: Document("x" * 200_000, ["x"], []))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        result = charlstm("train", config_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert result.code == REFUSED
    (line,) = result.err.splitlines()
    assert line.startswith("error: the run is complete and saved, only its report is missing: runs/tiny/report: ")
    assert "File too large" in line
    assert line.endswith("Make it: charlstm compare runs/tiny")
    assert not list(Path("runs/tiny/report").glob("*.html"))
    assert charlstm("compare", "runs/tiny").code == IGNORED


def test_broken_metrics_are_refused_before_training(run, charlstm):
    file = run / "metrics.jsonl"
    with file.open("a") as end:
        end.write("null\n")  # after the checkpoint: it is cut off
    assert charlstm("train", run, "--resume", "--set", "training.budget.steps=95").code == IGNORED
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "[]", *lines[2:]]) + "\n")
    before = file.read_bytes()
    result = charlstm("train", run, "--resume", "--set", "training.budget.steps=100")
    assert result.code == REFUSED
    assert result.err.startswith(f"error: {file}:2: not a valid record of a training run")
    assert file.read_bytes() == before
