"""The command line as a whole: help, imports, configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import charlstm as package
from charlstm import cli
from charlstm.config import describe_fields
from charlstm.errors import UserError

ROOT = Path(package.__file__).parents[1]
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_help_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['charlstm', '--help']\n"
        "from charlstm.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(eval(found.stderr))  # a list of names
    assert "typer" in loaded
    assert not loaded & {"torch", "rich", "pydantic", "numpy", "yaml", "tqdm", "matplotlib", "safetensors", "jinja2"}
    for command in COMMANDS:
        assert command in found.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_every_option_has_help(name, charlstm):
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name}"
    found = charlstm(name, "--help")
    assert found.code == 0
    assert "\x1b" not in found.out


def test_usage_errors(charlstm):
    for arguments in (("nonsense",), ("train",), ("sample", "x", "--nonsense")):
        found = charlstm(*arguments)
        assert found.code == 2
        assert found.out == ""
        assert "Traceback" not in found.err


def test_config_prints_every_field(charlstm):
    found = charlstm("config")
    assert found.code == 0
    fields = describe_fields()
    assert len(fields) > 30
    for field in fields:
        assert f"\n  {field.name}: " in found.out
        assert field.documentation.split()[0] in found.out
    assert "[0.002]" in found.out
    assert max(map(len, found.out.splitlines())) <= 110


def test_config_schema(charlstm):
    schema = json.loads(charlstm("config", "--schema").out)
    assert {"corpus", "model", "training"} <= schema["properties"].keys()
    assert "hidden_size" in json.dumps(schema)


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("boom\nand more")


def test_a_bug_is_reported_in_a_file(charlstm, monkeypatch, tiny_run, tmp_path):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("charlstm.api.load", fail)
    found = charlstm("sample", tiny_run)
    (report,) = (tmp_path / "cache").glob("error-*.txt")
    assert (found.code, found.out) == (1, "")
    first, second = found.err.splitlines()
    assert first == "error: a bug in charlstm: RuntimeError: boom"
    assert second.startswith(f"full report: {report}")
    text = report.read_text()
    assert f"'{tiny_run}'" in text
    assert "Traceback (most recent call last)" in text
    assert text.endswith("RuntimeError: boom\nand more\n")


@pytest.mark.parametrize("code", [1, 2])
def test_an_error_amid_a_run_tells_what_is_saved(charlstm, config_file, monkeypatch, code):
    def failing(*_: object) -> None:
        raise RuntimeError("boom") if code == 1 else UserError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("charlstm.training.trainer.Trainer.score", failing)
        found = charlstm("train", config_file)
    run = Path("runs/tiny")
    saved = f"saved: {run}, step 0; go on:  charlstm train {run} --resume"
    assert found.code == code
    if code == 1:
        (report,) = run.glob("error-*.txt")
        expected = ["error: a bug in charlstm: RuntimeError: boom", saved, f"full report: {report}"]
    else:
        expected = ["error: no room", saved]
    assert found.err.splitlines()[-len(expected) :] == expected
    assert charlstm("train", run, "--resume").code == 0


def test_a_report_that_cannot_be_written_is_printed(charlstm, monkeypatch, tiny_run):
    monkeypatch.setattr("charlstm.api.load", fail)
    monkeypatch.setattr(Path, "write_text", fail)
    found = charlstm("sample", tiny_run)
    assert found.code == 1
    assert found.err.splitlines()[:2] == [
        "error: a bug in charlstm: RuntimeError: boom",
        "the full report cannot be written to a file:",
    ]
    assert "Traceback" in found.err


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (PermissionError(13, "Permission denied", "some/file"), "some/file: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ModuleNotFoundError("No module named 'jinja2'", name="jinja2"), "the Python package jinja2 cannot be loaded"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000 bytes"),
            "out of memory: 4 MB",
        ),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_what_the_machine_lacks_is_one_line(charlstm, monkeypatch, tiny_run, problem, told):
    def lacking(*_: object) -> None:
        raise problem

    monkeypatch.setattr("charlstm.api.load", lacking)
    found = charlstm("sample", tiny_run)
    assert found.code == 2
    (line,) = found.err.splitlines()
    assert line.startswith(f"error: {told}")
