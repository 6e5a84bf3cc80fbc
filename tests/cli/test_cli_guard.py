"""No command ends in a traceback, whatever call fails: one clear line and a documented exit code."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from charlstm.checkpoints.format import load_checkpoint
from charlstm.config import BudgetConfig, dump_yaml
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training.trainer import Trainer

CPU_FULL = (
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"
)
KINDS: dict[str, Callable[[], Exception]] = {
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere"),
    "pipe": lambda: BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
    "memory": lambda: MemoryError(),
    "torch memory": lambda: RuntimeError(CPU_FULL),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "bug": lambda: RuntimeError("injected\nin two lines"),
}
CALLS: dict[Any, str] = {
    os: "open write fsync replace unlink truncate mkdir",
    pathlib.Path: "open read_text read_bytes write_text write_bytes mkdir exists is_dir stat iterdir glob unlink",
    shutil: "rmtree disk_usage",
    tempfile: "mkstemp TemporaryDirectory TemporaryFile",
    np: "empty zeros memmap fromfile frombuffer array concatenate",
    torch: "empty zeros ones full tensor arange from_numpy frombuffer cat stack empty_like zeros_like",
    torch.Tensor: "to cpu clone contiguous backward",
    Figure: "savefig",
}
MEMORY = """\
seeds: 1
search_seeds: 1
learning_rates: [1.0e-2]
test_strings: 20
shared:
  model: {hidden_size: 4, embedding_size: 4, executor: eager}
  training:
    {batch_size: 8, sequence_length: 16, evaluate_every: 2, sample_length: 0, device: cpu, budget: {steps: 2}}
arms: {lstm: {model.cell: lstm}, rnn: {model.cell: rnn}}
experiments:
  recall: {arms: [lstm, rnn], lags: [2], keys: 3, strings: 60}
"""
COMPARE = """\
corpus: {{source: {source}}}
model: {{hidden_size: 4, executor: eager}}
training:
  {{batch_size: 4, sequence_length: 20, sample_length: 4, precision: float32, device: cpu, budget: {{steps: 2}}}}
arms: {{one: {{model: {{cell: rnn}}}}, two: {{model: {{cell: gru}}}}}}
seeds: 1
"""
BENCH = ("--size", "1x4,2,3", "--rounds", 1, "--cell", "rnn", "--executor", "eager", "--precision", "float32")
COMMANDS: dict[str, tuple[object, ...]] = {
    "config": ("config",),
    "sample": ("sample", "runs/done", "--length", 5, "--seed", 1),
    "infill": ("sample", "runs/both", "--infill", "the c_t", "--seed", 1, "--sweeps", 2, "--json"),
    "evaluate": ("evaluate", "runs/done", "--text", "some.txt"),
    "compare runs": ("compare", "runs/done"),
    "resume": ("train", "runs/partial", "--resume"),
    "train": ("train", "tiny.yaml"),
    "compare": ("compare", "versus.yaml"),
    "compare memory": ("compare", "memory.yaml", "--jobs", 1),
    "bench": ("bench", *BENCH, "--plot", "bars.png"),
}
Site = tuple[str, int, str]


class FaultInjector:
    """Records the call sites of CALLS in charlstm, by module and line, and fails the first call from one site."""

    def __init__(self, patch: pytest.MonkeyPatch, site: Site | None = None, error: Exception | None = None) -> None:
        self.sites: dict[Site, None] = {}
        self._site, self._error = site, error
        for owner, names in CALLS.items():
            for name in names.split():
                patch.setattr(owner, name, self._failing(name, getattr(owner, name)))

    def _failing(self, name: str, original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            frame = sys._getframe(1)
            module = frame.f_globals.get("__name__", "")
            if module.startswith("charlstm."):
                site = (module, frame.f_lineno, name)
                self.sites[site] = None
                if site == self._site and self._error is not None:
                    error, self._error = self._error, None
                    raise error
            return original(*arguments, **named)

        return call


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus_file, make_config) -> Path:
    """A folder with a complete run, one that fills gaps, and one to resume."""
    folder = tmp_path_factory.mktemp("guard")
    for name, model in (("done", {}), ("both", {"direction": "bidirectional"}), ("partial", {})):
        settings = make_config({"hidden_size": 4, "executor": "eager", **model}, budget={"steps": 2}, evaluate_every=2)
        directory = RunDirectory(folder / "runs" / name)
        directory.create(settings)
        list(Trainer(settings, load_corpus(str(corpus_file)), directory).run())
    more = settings.training.model_copy(update={"budget": BudgetConfig(steps=4)})
    (folder / "runs/partial/config.yaml").write_text(dump_yaml(settings.model_copy(update={"training": more})))
    (folder / "tiny.yaml").write_text(dump_yaml(settings))
    (folder / "versus.yaml").write_text(COMPARE.format(source=corpus_file))
    (folder / "memory.yaml").write_text(MEMORY)
    (folder / "some.txt").write_text("the cat sat on a mat")
    return folder


@pytest.fixture
def run_command(runs, charlstm, tmp_path, monkeypatch) -> Iterator[Callable[..., Any]]:
    for name, value in (("TURN_SECONDS", 0.0), ("MATMUL_SIZES", (8,)), ("CHARACTERS", 5), ("TEXTS", (1,))):
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", value)

    def call(number: int, command: str, site: Site | None = None, error: Exception | None = None) -> Any:
        here = tmp_path / f"{number}"
        shutil.copytree(runs, here)
        monkeypatch.chdir(here)
        monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
        with pytest.MonkeyPatch.context() as patch:
            injector = FaultInjector(patch, site, error)
            result = charlstm(*COMMANDS[command])
        return result, injector.sites

    return call


def check(result: Any, kind: str, command: str) -> None:
    """Check that the command succeeded, or failed as documented."""
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.err
    assert result.code in ((0, 1, 2) if kind in ("unicode", "bug") else (0, 2))
    assert len(errors) == (result.code != 0)
    if result.code == 1:
        assert errors[0].startswith("error: a bug in charlstm: ")
        (path,) = (line.removeprefix("full report: ") for line in result.err.splitlines() if "full report: " in line)
        report = Path(path.removesuffix(". The same command may work with other settings")).read_text()
        assert "Traceback (most recent call last)" in report
        assert "charlstm 0." in report
    for run in Path("runs").glob("**/checkpoints"):
        for path in run.glob("*.safetensors"):
            load_checkpoint(path)
    assert load_checkpoint(Path("runs/partial/checkpoints/last.safetensors"))[1]["counters"]["step"] >= 2


def some_sites(sites: dict[Site, None], count: int = 4) -> list[tuple[int, Site]]:
    """``count`` of the sites, evenly spaced."""
    each = list(sites)
    return list(enumerate(each[k * len(each) // count] for k in range(min(count, len(each)))))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reports_a_failure_in_one_line(command, run_command):
    result, sites = run_command(0, command)
    assert result.code == 0, result.err
    for number, site in some_sites(sites):
        kind = list(KINDS)[(number + len(command)) % len(KINDS)]
        result, _ = run_command(number + 1, command, site, KINDS[kind]())
        try:
            check(result, kind, command)
        except AssertionError:
            pytest.fail(f"{kind} at {site}: {result}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_with_every_failure_everywhere(command, kind, run_command):
    _, sites = run_command(0, command)
    for number, site in enumerate(sites):
        result, _ = run_command(number + 1, command, site, KINDS[kind]())
        try:
            check(result, kind, command)
        except AssertionError:
            pytest.fail(f"{kind} at {site}: {result}")
