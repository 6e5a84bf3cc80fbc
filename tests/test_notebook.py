"""The notebook runs from its first cell to its last, and has the outputs of such a run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from markdown_files import anchors
from reference import ROOT

from charlstm.generation import Samples

NOTEBOOK = ROOT / "charlstm" / "notebooks" / "tour.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
TINY = {
    "model.hidden_size": 8,
    "model.executor": "reference",
    "training.batch_size": 8,
    "training.sample_length": 0,
    "training.evaluate_every": 6,
    "corpus.validation_fraction": 0.01,
    "training.budget": {"steps": 6},
}


def run_cell(code: str, namespace: dict[str, Any]) -> Any:
    """The value that the notebook shows after the cell: that of its last line, if it is an expression."""
    *body, last = ast.parse(code).body
    is_shown = isinstance(last, ast.Expr) and not code.endswith(";")
    exec(compile(ast.Module(body if is_shown else [*body, last], []), "cell", "exec"), namespace)
    if not is_shown:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


def test_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    shown = []
    for cell in CODE:
        value = run_cell("".join(cell["source"]), namespace)
        if "parameters" in cell["metadata"].get("tags", ()):
            namespace["settings"] = TINY
        printed = capsys.readouterr().out
        has_plot = bool(plt.get_fignums())
        plt.close("all")
        shown.append((bool(printed), value is not None, has_plot))
        assert (
            value is None or isinstance(value, Samples | tuple) or repr(value).startswith("<run runs/argparse: capped")
        )
    kinds = [[output["output_type"] for output in cell["outputs"]] for cell in CODE]
    assert shown == [("stream" in k, "execute_result" in k, "display_data" in k) for k in kinds]


def test_notebook_has_outputs_without_errors_or_paths():
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
    assert not any(output["output_type"] == "error" for cell in CODE for output in cell["outputs"])
    assert not any(output.get("name") == "stderr" for cell in CODE for output in cell["outputs"])
    assert not any("\r" in line for cell in CODE for output in cell["outputs"] for line in output.get("text", ()))
    assert not re.search(r"/(home|root|tmp|work|usr)/", NOTEBOOK.read_text(encoding="utf-8"))
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", "".join(s for c in CELLS for s in c["source"])))
def test_links_of_the_notebook_exist(link):
    path, _, anchor = link.partition("#")
    assert (NOTEBOOK.parent / path).exists()
    assert not anchor or anchor in anchors((NOTEBOOK.parent / path).resolve())


def test_notebook_is_not_part_of_the_wheel():
    assert '\nexclude = ["charlstm/notebooks"]\n' in Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
