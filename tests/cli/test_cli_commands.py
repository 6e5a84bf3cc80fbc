"""The command line: help, imports, configuration."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import typer

import charlstm as package
from charlstm import atomic_io, cli
from charlstm.config import COMPARISON_MODELS, describe_fields
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory

ROOT = Path(package.__file__).parents[1]
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_help_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['charlstm', '--help']\n"
        "from charlstm.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(eval(result.stderr))  # a list of names
    assert "typer" in loaded
    assert not loaded & {"torch", "rich", "pydantic", "numpy", "yaml", "tqdm", "matplotlib", "safetensors", "jinja2"}
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_every_option_has_help(name, charlstm):
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name}"
    result = charlstm(name, "--help")
    assert result.code == 0
    assert "\x1b" not in result.out


def test_usage_errors_exit_with_2(charlstm):
    for arguments in (("nonsense",), ("train",), ("sample", "x", "--nonsense")):
        result = charlstm(*arguments)
        assert result.code == 2
        assert result.out == ""
        assert "Traceback" not in result.err


def test_config_prints_every_field(charlstm):
    result = charlstm("config")
    assert result.code == 0
    fields = describe_fields()
    assert len(fields) > 30
    for field in fields:
        assert f"\n  {field.name}: " in result.out
        assert field.documentation.split()[0] in result.out
    assert "[0.002]" in result.out
    assert max(map(len, result.out.splitlines())) <= 110


def test_config_prints_the_fields_of_comparisons(charlstm):
    result = charlstm("config", "--compare")
    assert result.code == 0
    for text in ("match: parameters | width", "search_seeds: ", "experiments.recall", "mixed_lags: ", "at_least: "):
        assert f"{text}" in result.out
    fields = [field for model in COMPARISON_MODELS.values() for field in describe_fields(model)]
    assert result.out.count("\n  ") >= len(fields)
    assert charlstm("config", "--compare", "--schema").code == 2


def test_config_prints_the_json_schema(charlstm):
    schema = json.loads(charlstm("config", "--schema").out)
    assert {"corpus", "model", "training"} <= schema["properties"].keys()
    assert "hidden_size" in json.dumps(schema)


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("boom\nand more")


def test_bug_is_reported_in_a_file(charlstm, monkeypatch, tiny_run, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("charlstm.api.load", fail)
    result = charlstm("sample", tiny_run)
    (report,) = (tmp_path / "cache").glob("error-*.txt")
    assert (result.code, result.out) == (1, "")
    first, second = result.err.splitlines()
    assert first == "error: a bug in charlstm: RuntimeError: boom"
    assert second.startswith(f"full report: {report}")
    text = report.read_text()
    assert f"'{tiny_run}'" in text
    assert "Traceback (most recent call last)" in text
    assert text.endswith("RuntimeError: boom\nand more\n")


@pytest.mark.parametrize("code", [1, 2])
def test_error_during_training_reports_what_is_saved(charlstm, config_file, monkeypatch, code):
    def failing(*_: object) -> None:
        raise RuntimeError("boom") if code == 1 else UserError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("charlstm.training.validation.Validator.score", failing)
        result = charlstm("train", config_file)
    run = Path("runs/tiny")
    saved = f"saved: {run}, step 0; resume:  charlstm train {run} --resume"
    assert result.code == code
    if code == 1:
        (report,) = run.glob("error-*.txt")
        expected = ["error: a bug in charlstm: RuntimeError: boom", saved, f"full report: {report}"]
    else:
        expected = ["error: no space", saved]
    assert result.err.splitlines()[-len(expected) :] == expected
    assert charlstm("train", run, "--resume").code == 0


def test_error_before_the_first_checkpoint_says_that_nothing_is_saved(charlstm, config_file, monkeypatch):
    staged_file = atomic_io.staged_file

    def on_full_disk(path: Path, *pieces: bytes) -> AbstractContextManager[Path]:
        if path.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return staged_file(path, *pieces)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_io, "staged_file", on_full_disk)
        result = charlstm("train", config_file)
    assert result.code == 2
    error, note = result.err.splitlines()[-2:]
    assert "bytes needed" in error
    assert error.endswith(" bytes, or choose another folder: --runs FOLDER")
    assert note == "nothing is saved yet; start again:  charlstm train runs/tiny --resume"
    assert charlstm("train", "runs/tiny", "--resume").code == 0


def test_run_that_is_moved_while_it_trains_is_resumed_from_its_new_folder(charlstm, config_file, monkeypatch):
    append_sample = RunDirectory.append_sample

    def move_and_append(directory: RunDirectory, step: int, text: str) -> None:
        directory.path.rename("moved")
        append_sample(directory, step, text)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_sample", move_and_append)
        result = charlstm("train", config_file)
    assert result.code == 2
    error, note = result.err.splitlines()[-2:]
    assert "runs/tiny/samples.txt: cannot write the run" in error
    assert note == "runs/tiny does not exist: if it was moved meanwhile, resume it where it is now"
    assert not Path("runs/tiny").exists()
    assert charlstm("train", "moved", "--resume").code == 0


def test_report_that_cannot_be_written_is_printed(charlstm, monkeypatch, tiny_run):
    monkeypatch.setattr("charlstm.api.load", fail)
    monkeypatch.setattr(Path, "write_text", fail)
    result = charlstm("sample", tiny_run)
    assert result.code == 1
    assert result.err.splitlines()[:2] == [
        "error: a bug in charlstm: RuntimeError: boom",
        "the full report cannot be written to a file:",
    ]
    assert "Traceback" in result.err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "some/file"), "some/file: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ModuleNotFoundError("No module named 'jinja2'", name="jinja2"), "the Python package jinja2 cannot be loaded"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000 bytes"),
            "out of memory: 4 MB",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"),
            "out of memory on the GPU: 2.1 GB more were requested. Close",
        ),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_machine_limits_are_reported_in_one_line(charlstm, monkeypatch, tiny_run, error, message):
    def raising(*_: object) -> None:
        raise error

    monkeypatch.setattr("charlstm.api.load", raising)
    result = charlstm("sample", tiny_run)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith(f"error: {message}")
