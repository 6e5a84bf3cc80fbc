"""The examples of the READMEs run: short commands, Python, the cell."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import markdown_files
import pytest
import torch
from markdown_files import words_after_charlstm
from reference import ROOT, documents

from charlstm import cli
from charlstm.cells import CELLS
from charlstm.config import load_config
from charlstm.executors import Weights, executors
from charlstm.executors.cpp import build
from charlstm.generation.cpp_decoder import decoder_library
from charlstm.optimizers import OPTIMIZERS
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training import size_defaults
from charlstm.training.trainer import Trainer

README = ROOT / "README.md"
TEXT = "To be, or not: Once upon a time, def for i in range(10):\n    the end. " * 40
TINY = (
    "model.hidden_size=8",
    "model.executor=reference",
    "training.precision=float32",
    "training.device=cpu",
    "training.budget={steps: 3}",
    "training.sample_length=0",
)
RUNS = {
    "backward": "model.direction=backward",
    "infilling": "model.direction=bidirectional",
    "wider": "model.direction=forward",
}


def call(*words: str) -> int | str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charlstm", *words])
        with pytest.raises(SystemExit) as exited:
            cli.main()
    return exited.value.code


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No compilation of kernels, which takes most of the time; other tests in this process must not know of it."""
    for cached in (build.kernels, decoder_library):
        cached.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    yield
    for cached in (build.kernels, decoder_library):
        cached.cache_clear()


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the texts, the configuration and the trained runs that the READMEs assume."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("my-text.txt", "other.txt", "start.txt"):
        (folder / name).write_text(TEXT if name != "start.txt" else "Once", encoding="utf-8")
    (configuration,) = markdown_files.blocks(README, "yaml")
    (folder / "my-text.yaml").write_text(configuration, encoding="utf-8")
    (sweep,) = markdown_files.blocks(ROOT / "charlstm" / "sweep" / "README.md", "yaml")
    (folder / "my-sweep.yaml").write_text(sweep, encoding="utf-8")
    (folder / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, change in RUNS.items():
            config = load_config(folder / "my-text.yaml", (*TINY, change))
            directory = RunDirectory(folder / "runs" / name)
            directory.create(config)
            assert list(Trainer(config, load_corpus(**config.corpus.model_dump()), directory).run())
    for name in ("quickstart", "longer"):
        shutil.copytree(folder / "runs" / "wider", folder / "runs" / name)
    return folder


def is_short(words: list[str]) -> bool:
    command, *rest = words
    return command in ("sample", "evaluate", "config") or "--dry-run" in rest


SHORT = {
    " ".join(line): line
    for path in documents()
    for words in markdown_files.commands(path)
    if (line := words_after_charlstm(words)) and is_short(line)
}


@pytest.mark.parametrize("line", SHORT.values(), ids=SHORT)
@pytest.mark.usefixtures("without_compiler")
def test_short_commands_run(example_folder, monkeypatch, line):
    monkeypatch.chdir(example_folder)
    assert not call(*line)


PYTHON = {
    f"{path.relative_to(ROOT)}:{n}": code
    for path in documents()
    for n, code in enumerate(markdown_files.blocks(path, "python"))
}


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
@pytest.mark.usefixtures("without_compiler")
def test_python_in_documents_runs(example_folder, monkeypatch, capsys, code):
    monkeypatch.chdir(example_folder)
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))
    monkeypatch.setattr("charlstm.optimizers.base.OPTIMIZERS", dict(OPTIMIZERS))
    monkeypatch.setattr(size_defaults, "TABLE", (replace(size_defaults.TABLE[-1], hidden_size=64, epochs=0.1),))
    exec(compile(code, "README", "exec", dont_inherit=True), {"__name__": "readme"})
    assert ("print(" in code) == bool(capsys.readouterr().out)


def test_readme_cell_gives_equal_results_in_executors(tmp_path, monkeypatch):
    (code,) = [block for block in markdown_files.blocks(README, "python") if "@cell" in block]
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))
    (tmp_path / "readme_mgu.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from readme_mgu import mgu  # type: ignore[import-not-found]

    shapes = mgu.parameter_shapes(4, 5)
    weights = Weights(**{name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()})
    x, state = torch.randn(3, 2, 4, dtype=torch.float64), (torch.randn(2, 5, dtype=torch.float64),)
    expected, result = (executors()[name].run(mgu, weights, x, state)[0] for name in ("reference", "eager"))
    torch.testing.assert_close(result, expected)
