"""Fixtures for all tests: a tiny text, tiny configurations and a tiny trained run."""

from __future__ import annotations

import gc
import os
import random
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from matplotlib.figure import Figure
from modes import put_back
from quick_builds import precompile, quick_command

from charlstm.config import Config, parse_config
from charlstm.errors import UserError
from charlstm.executors.cpp import build
from charlstm.executors.cpp.build import BuildError
from charlstm.hardware.environment import set_environment
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.training.events import Event
from charlstm.training.trainer import Trainer

REFUSED = "executor cpp cannot run"
MakeConfig = Callable[..., Config]
MakeTrainer = Callable[..., Trainer]

set_environment()
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything loads Triton


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Without searches for garbage: they take seconds, and the thousands of tests that are collected stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip tests that need C++ kernels which this machine cannot build or run.

    ``test_machines.py`` checks that kernels are available where they should be.
    """
    try:
        return (yield)
    except BuildError as refusal:
        pytest.skip(f"cpp: {refusal}")
    except UserError as error:
        if not str(error).startswith(REFUSED):
            raise
        pytest.skip(str(error))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``few(n)``, n of its cases, evenly spaced, are fast; the others are slow."""
    cases: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few"):
            cases.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    for group in cases.values():
        marker = group[0].get_closest_marker("few")
        assert marker is not None
        fast = {i * len(group) // marker.args[0] for i in range(marker.args[0])}
        for number, item in enumerate(group):
            if number not in fast:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A separate cache, shared by the processes of a test run, and output without styles."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLSTM_CACHE", str(shared / "cache"))
        patch.setenv("NO_COLOR", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("CHARLSTM_MEASURE", "0")  # the fastest executor may differ from test to test
        patch.setattr(os, "fsync", lambda _: None)  # no test needs durable files, and fsync takes longer than a step
        patch.setattr("charlstm.generation.infilling.PREVIEW_SWEEPS", 4)  # of the infilling that an evaluation shows
        patch.setattr("charlstm.run_report.samples.LENGTH", 50)  # of the samples in the report of a run
        patch.setattr("charlstm.cli.compare._inspect", lambda *_: None)  # test_cli_inspect.py puts it back
        patch.setattr("typer.main.get_command", cache(typer.main.get_command))
        compiler = os.environ.get("CXX", "c++ -O1")  # test_cpp.py tests optimized kernels
        if compiler and shutil.which(shlex.split(compiler)[0]):
            command, header = quick_command(compiler, shared / "headers")
            compile_kernels = build._compile

            def compile_quickly(*arguments: Any) -> None:
                if os.environ.get("CXX") == command:
                    precompile(compiler, header)
                compile_kernels(*arguments)

            patch.setenv("CXX", command)
            patch.setattr(build, "_compile", compile_quickly)
        for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _restore_modes() -> Iterator[None]:
    with put_back():
        yield


@pytest.fixture(scope="session")
def undrawn_plots() -> Callable[..., AbstractContextManager[None]]:
    """A context in which plots are not rendered in the given formats: rendering takes longer than training."""
    savefig, empty = Figure.savefig, {"png": b"PNG", "svg": '<svg viewBox="0 0 1 1"></svg>'}

    @contextmanager
    def skip_drawing(*formats: str) -> Iterator[None]:
        def save(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
            if format in formats:
                file.write(empty[format])
            else:
                savefig(figure, file, format=format, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "savefig", save)
            yield

    return skip_drawing


@pytest.fixture
def drawn_plots() -> None:
    """Plots are rendered in this test, even if other tests of its module skip drawing."""


@pytest.fixture(scope="session")
def text() -> str:
    """1,500 characters of words, 16 distinct."""
    rng = random.Random(1)
    words = ["the", "cat", "sat", "on", "a", "mat\nand", "saw", "two", "dogs", "run", "home\n"]
    return " ".join(rng.choice(words) for _ in range(600))[:1500]


@pytest.fixture(scope="session")
def corpus_file(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "tiny.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="session")
def corpus(corpus_file: Path, _surroundings: None) -> Corpus:
    return load_corpus(str(corpus_file))


@pytest.fixture(scope="session")
def make_config(corpus_file: Path) -> MakeConfig:
    """A tiny configuration; ``model`` and ``training`` override its fields, ``corpus`` too."""

    def make(model: dict[str, Any] | None = None, corpus: dict[str, Any] | None = None, **training: Any) -> Config:
        settings = {
            "corpus": {"source": str(corpus_file), **(corpus or {})},
            "model": {"hidden_size": 8, "front_end": "one_hot", **(model or {})},
            "training": {
                "batch_size": 4,
                "sequence_length": 20,
                "learning_rate": 1e-2,
                "warmup_steps": 3,
                "evaluate_every": 6,
                "sample_length": 12,
                "precision": "float32",
                "device": "cpu",
                "budget": {"steps": 20},
                **training,
            },
        }
        return parse_config(settings, "test")

    return make


@pytest.fixture
def make_trainer(corpus: Corpus, tmp_path: Path) -> MakeTrainer:
    """A trainer with a new run directory, or with an existing one (``path``)."""

    def make(config: Config, path: Path | None = None, text: Corpus = corpus) -> Trainer:
        directory = RunDirectory(path or tmp_path / "run")
        if not directory.exists:
            directory.create(config)
        return Trainer(config, text, directory)

    return make


def finish(trainer: Trainer) -> list[Event]:
    return list(trainer.run())


@pytest.fixture(scope="session")
def tiny_run(corpus: Corpus, make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run (forward LSTM). Read only."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    config = make_config({"hidden_size": 16}, budget={"steps": 90}, evaluate_every=30, learning_rate=2e-2)
    directory = RunDirectory(path)
    directory.create(config)
    finish(Trainer(config, corpus, directory))
    return path
