"""README, configurations and help say what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import typer.main

from charlstm.cells import CELLS
from charlstm.cli import app
from charlstm.config import load_comparison, load_config
from charlstm.executors import Weights, executors

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LINES = re.findall(r"charlstm ((?:train|sample|evaluate|compare|config|bench)\b[^\n#`|]*)", README)


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


def test_readme_names_every_cell():
    assert all(f"| `{c.base}` |" in README for c in CELLS.values())


def test_the_cell_in_the_readme_works_as_shown(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(from charlstm\.cells\.base.*?)```", README, re.DOTALL)
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))
    (tmp_path / "mgu_of_the_readme.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from mgu_of_the_readme import mgu  # type: ignore[import-not-found]

    shapes = mgu.parameter_shapes(4, 5)
    weights = Weights(**{name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()})
    x, state = torch.randn(3, 2, 4, dtype=torch.float64), (torch.randn(2, 5, dtype=torch.float64),)
    expected, found = (executors()[name].run(mgu, weights, x, state)[0] for name in ("reference", "sequence"))
    torch.testing.assert_close(found, expected)


def test_options_all_have_help():
    for command in COMMANDS.values():
        assert command.help
        assert all(parameter.help for parameter in command.params if parameter.name != "help")
