"""README, configurations and help say what is true."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import typer.main

from charlstm.cells import CELLS
from charlstm.cli import app
from charlstm.config import load_comparison, load_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LINES = re.findall(rf"charlstm ((?:{'|'.join(COMMANDS)})\b[^\n#`|]*)", README)


def test_readme_shows_every_command():
    assert {line.split()[0] for line in LINES} == set(COMMANDS)


@pytest.mark.parametrize("line", LINES)
def test_readme_commands_have_the_options_that_they_use(line):
    command, *words = line.split()
    known = {name for parameter in COMMANDS[command].params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {w.split("=")[0] for w in words if w.startswith("--")} <= known
    assert all((ROOT / w).exists() for w in words if w.startswith("configs/"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_configuration_loads_and_says_what_it_shows(path):
    load = load_comparison if path.parent.name == "compare" else load_config
    assert load(path)
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_readme_names_every_cell_that_ships():
    sys.path.insert(0, str(ROOT / "tests" / "cells"))
    from shipped import SHIPPED  # type: ignore[import-not-found]

    assert all(f"| `{CELLS[name].base}` |" in README for name in SHIPPED)


def test_options_all_have_help():
    for command in COMMANDS.values():
        assert command.help
        assert all(parameter.help for parameter in command.params if parameter.name != "help")
