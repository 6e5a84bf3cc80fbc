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


def test_a_bug_is_not_hidden(monkeypatch, tiny_run):
    def fail(*_args):
        raise RuntimeError("a bug")

    monkeypatch.setattr("charlstm.training.loaded.load", fail)
    monkeypatch.setattr(sys, "argv", ["charlstm", "sample", str(tiny_run)])
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()
