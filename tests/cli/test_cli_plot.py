"""``charlstm plot``: learning curves of runs in one PNG file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def run(config_file, tiny_run) -> Path:
    """Copies of a run in the working directory."""
    shutil.copytree(tiny_run, "runs/a")
    shutil.copytree(tiny_run, "else/a")
    return Path(shutil.copytree(tiny_run, "runs/tiny"))


def test_runs_by_name(charlstm):
    result = charlstm("plot", "tiny", "a", "--along", "seconds", "--training")
    assert (result.code, result.out, result.err) == (0, "curves.png\n", "")
    assert Path("curves.png").read_bytes() == b"PNG"
    assert charlstm("plot", "runs/a", "else/a", "--output", "x.png").out == "x.png\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plot tinny", "Did you mean tiny?"),
        ("plot a runs/a", "the same run is named twice"),
        ("plot a --output x.jpg", "give it a name that ends in .png"),
        ("plot a --output no/x.png", "there is no folder no"),
        ("plot a --along second", "Did you mean seconds?"),
        ("plot runs", "is not a run directory"),
        ("plot runs/a/checkpoints/best.safetensors --tensorboard", "best.safetensors is not a run directory"),
        ("plot runs --tensorboard", "is not a run directory"),
        ("plot a --follow", "--follow has no effect without --tensorboard"),
        ("plot a --tensorboard --along steps", "--along has no effect with --tensorboard"),
    ],
)
def test_wrong_use(charlstm, line, message):
    result = charlstm(*line.split())
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_scores_that_are_not_comparable(charlstm, run):
    config = (run / "config.yaml").read_text()
    as_bytes = re.sub(r"  (lowercase|normalize): .*\n", "", config.replace("encoding: utf-8", "encoding: bytes"))
    (run / "config.yaml").write_text(as_bytes)
    assert "bits per byte and bits per character are not comparable" in charlstm("plot", "tiny", "a").err
    (run / "config.yaml").write_text(config)
    metrics = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(metrics.replace('"pseudo_likelihood": false', '"pseudo_likelihood": true'))
    assert "a pseudo-likelihood is not comparable" in charlstm("plot", "tiny", "a").err
    (run / "metrics.jsonl").unlink()
    assert charlstm("plot", "tiny").err == "error: these runs have no scores yet\n"


def test_missing_tensorboard_is_one_line(charlstm, monkeypatch):
    monkeypatch.setattr("charlstm.run_report.event_files.find_spec", lambda _: None)
    result = charlstm("plot", "a", "--tensorboard")
    message = "--tensorboard needs the package tensorboard: pip install 'charlstm[tensorboard]'"
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")
    assert not Path("runs/a/tensorboard").exists()


def test_followed_runs_are_read_until_none_is_trained(charlstm, monkeypatch):
    updates = []

    class Files:
        def __init__(self, path: Path) -> None:
            self.path, self.folder = path, path / "tensorboard"

        @property
        def is_training(self) -> bool:
            return len(updates) < 6

        def update(self) -> bool:
            updates.append(self.path.name)
            return len(updates) in (1, 2, 8)

        def close(self) -> None:
            updates.append("closed")

    monkeypatch.setattr("charlstm.run_report.event_files.check_package", lambda: None)
    monkeypatch.setattr("charlstm.run_report.event_files.EventFiles", Files)
    monkeypatch.setattr("charlstm.cli.plot.POLL", 0.0)
    result = charlstm("plot", "a", "tiny", "--tensorboard", "--follow")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "event files: runs/a/tensorboard",
        "event files: runs/tiny/tensorboard",
        "show them:   tensorboard --logdir runs",
    ]
    assert updates == ["a", "tiny"] * 5 + ["closed"] * 2
    result = charlstm("plot", Path("runs/a").absolute(), "else/a", "--tensorboard")
    assert result.out.splitlines()[-1] == f"show them:   tensorboard --logdir {Path.cwd()}"
