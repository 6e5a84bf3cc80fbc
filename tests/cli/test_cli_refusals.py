"""Refusals answer before what they do without is imported: torch, numpy, and the models of other configurations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REFUSALS = {  # in the order of what they need: each imports at most what is missing in the next ones
    "trian text.txt": {"charlstm.cli.train", "charlstm.runs.names"},
    "sample --temprature 1": {"charlstm.cli.train", "charlstm.runs.names"},
    "sample nosuchrun": {"yaml"},
    "train nosuch.yaml": {"charlstm.config.schema"},
    "train text.yaml --name a --set name=b": {"charlstm.config.schema"},
    "compare nosuch.yaml": {"charlstm.config.schema"},
    "train wrong.yaml": {"charlstm.config.compare"},
    "train text.txt --set training.batch_sise=1": {"charlstm.config.compare"},
    "train nosuch.txt": {"charlstm.config.compare"},
    "train missing.yaml": {"charlstm.config.compare"},
    "compare wrong.yaml": {"charlstm.config.memory", "charlstm.config.experiments"},
}
NEVER = {"torch", "numpy", "rich", "tqdm", "matplotlib", "ssl"}
PROGRAM = """
import json, sys
from charlstm.cli import main
loaded = {}
for line in json.loads(sys.argv[1]):
    sys.argv = ["charlstm", *line.split()]
    try:
        main()
    except SystemExit as end:
        loaded[line] = [end.code, *sys.modules]
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The exit code of each refusal, and the modules that it and those before it have loaded."""
    folder: Path = tmp_path_factory.mktemp("refusals")
    (folder / "text.txt").write_text("a text\n" * 100)
    (folder / "text.yaml").write_text("corpus: {source: text.txt}\n")
    (folder / "missing.yaml").write_text("corpus: {source: nosuch.txt}\n")
    (folder / "wrong.yaml").write_text("corpus: {source: text.txt}\narms: {a: {}, b: {model.cel: gru}}\n")
    command = [sys.executable, "-c", PROGRAM, json.dumps(list(REFUSALS))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout)


@pytest.mark.parametrize("line", REFUSALS)
def test_refusal_imports_only_what_it_needs(line, loaded):
    code, *modules = loaded[line]
    assert code == 2
    assert not {*modules} & (REFUSALS[line] | NEVER)
