"""Adding one extension of each kind, in a copy of the package, needs only the files that CONTRIBUTING.md names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CELL = re.findall(r"```python\n(\"\"\"[^`]*?from charlstm\.cells\.base.*?)```", README, re.DOTALL)

OPTIMIZER = '''"""Duchi et al. 2011."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.optimizers.base import Groups, optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from charlstm.config import TrainingConfig


@optimizer
def adagrad(groups: Groups, training: TrainingConfig) -> Optimizer:
    import torch

    return torch.optim.Adagrad(groups, lr=training.learning_rate)
'''

CELL_WITH_INIT = '''"""A leaky accumulator with an initial decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlstm.cells.base import Array, Gates, Option, Recurrent, cell, sigmoid, tanh

if TYPE_CHECKING:
    from torch import Tensor

DECAY = Option(0.5, "Initial fraction of the state that is kept.", gt=0, lt=1)


def decay(parameter: Tensor, initial_decay: float) -> None:
    """The logit of ``initial_decay``."""
    parameter.fill_(initial_decay).logit_()


@cell(
    gates="h",
    state="h",
    parameters={"decay_logit": "d"},
    initializers={"decay_logit": decay},
    init_options={"initial_decay": DECAY},
)
def accumulator(x: Gates, r: Recurrent, h: Array, p: Gates) -> Array:
    return sigmoid(p.d) * h + tanh(x.h + r.h)
'''

FRONT_END = '''"""Fixed random vectors of the characters."""

from __future__ import annotations

import torch
from torch import Tensor

from charlstm.config import ModelConfig
from charlstm.model.front_end import FrontEnd
from charlstm.model.stack import Project


class RandomVectors(FrontEnd):
    def __init__(self, vocabulary_size: int, size: int) -> None:
        super().__init__(size)
        self.register_buffer("vectors", torch.randn(vocabulary_size, size))

    @classmethod
    def from_config(cls, config: ModelConfig, vocabulary_size: int) -> RandomVectors:
        return cls(vocabulary_size, config.embedding_size or 1)

    def forward(self, ids: Tensor) -> tuple[Tensor, Project | None]:
        return ids, self.one_hot_weights

    def one_hot_weights(self, weight_ih: Tensor) -> Tensor:
        return weight_ih @ self.vectors.t()

    def multiplied_rows(self, characters: int) -> int:
        return 0
'''
FRONT_END_ENTRY = """
    "random_vectors": FrontEndEntry(
        "fixed random vectors", "charlstm.model.random_vectors:RandomVectors", ("embedding_size",)
    ),
}
"""

EXPERIMENT_CONFIG = '''"""How many parameters each arm has."""

from pydantic import Field

from charlstm.config.experiments.base import Experiment, Names


class ParametersConfig(Experiment):
    """How many parameters the arms have."""

    arms: Names = Field(description="Arms whose parameters are counted.")
'''
EXPERIMENT = '''"""How many parameters each arm has."""

from charlstm.report.document import Section
from charlstm.memory.experiments.base import ExperimentResult, experiment


@experiment("parameters")
class ParametersExperiment:
    def __init__(self, config, grid):
        self.arms = config.experiments.parameters.arms

    def metric_names(self):
        return ["parameters"]

    def run_groups(self):
        return []

    def measurement_jobs(self):
        return []

    def result(self):
        return ExperimentResult(Section(title="Parameters", paragraphs=[", ".join(self.arms)]), {})
'''

COMMAND = '''"""``charlstm greet``."""


def greet() -> None:
    """Print a greeting."""
    from charlstm import console

    console.out("good day")
'''

TRIAL = """
import torch
import charlstm.config
from pathlib import Path
from charlstm.cells import CELLS
from charlstm.memory.experiments import make_experiments
from charlstm.run_report import samples
from charlstm.executors import Weights, executors
from charlstm.text.corpus import load_corpus
from matplotlib.figure import Figure
from typer.testing import CliRunner
from charlstm.cli import app, signals

EMPTY = {"png": b"PNG", "svg": '<svg viewBox="0 0 1 1"></svg>'}
Figure.savefig = lambda self, file, format, **options: file.write(EMPTY[format])  # drawing takes seconds
samples.LENGTH = 5

for name in ("mgu", "accumulator"):
    cell = CELLS[name]
    weights = {n: torch.randn(s, dtype=torch.float64) for n, s in cell.parameter_shapes(4, 5).items()}
    cell_params = {n: weights.pop(n).requires_grad_() for n in cell.parameters}
    leaves = [t.requires_grad_() for t in weights.values()]
    x, state = torch.randn(3, 2, 4, dtype=torch.float64), (torch.randn(2, 5, dtype=torch.float64),)
    results = []
    for executor in ("reference", "eager"):
        y, _ = executors()[executor].run(cell, Weights(**weights, parameters=cell_params), x, state)
        results.append((y, *torch.autograd.grad(y.square().sum(), [*leaves, *cell_params.values()])))
    for expected, result in zip(*results, strict=True):
        torch.testing.assert_close(result, expected)

def run(*arguments):
    with signals.handled() as received:
        result = CliRunner().invoke(app, list(arguments), obj=received)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return " ".join(result.output.split())

fields = run("config")
assert "mgu: The minimal gated unit (Zhou et al. 2016): one gate forgets and resets." in fields
assert "initial_decay: number > 0 and < 1 | null" in fields, fields
assert "Initial fraction of the state that is kept. null means 0.5. Only for accumulator." in fields
assert "adagrad: Duchi et al. 2011." in fields
assert "random_vectors: fixed random vectors" in fields
assert run("greet") == "good day"
training = "batch_size: 2, sequence_length: 8, sample_length: 5, precision: float32, optimizer: adagrad"
base = f"training: {{budget: {{steps: 4}}, {training}}}"
for number, model in enumerate(
    ("cell: mgu", "cell: accumulator, initial_decay: 0.25", "cell: lstm, front_end: random_vectors, embedding_size: 3")
):
    Path("run.yaml").write_text(
        f"name: run{number}\\ncorpus: {{source: fox}}\\n{base}\\n"
        f"model: {{hidden_size: 6, executor: eager, {model}}}\\n"
    )
    run("train", "run.yaml")
    assert run("sample", f"runs/run{number}", "--length", "5")
assert "steps: 4" in Path("runs/run0/config.yaml").read_text()
Path("run.yaml").write_text(f"corpus: {{source: fox}}\\nmodel: {{cell: mgu, initial_decay: 0.5}}\\n")
try:
    charlstm.config.load_config(Path("run.yaml"))
except charlstm.UserError as error:
    assert str(error) == (
        "run.yaml:2: model.initial_decay: has no effect with cell: mgu, only with accumulator. Remove it"
    ), error
document = charlstm.config.Document("test", {
    "arms": {"a": {}},
    "experiments": {"recall": {"arms": ["a"]}, "parameters": {"arms": ["a"]}},
})
memory = charlstm.config.validate(charlstm.config.MemoryConfig, document)
assert make_experiments(memory, None, ["parameters"])["parameters"].metric_names() == ["parameters"]
print("all work")
"""


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one extension of each kind."""
    checkout = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "charlstm", checkout / "charlstm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    package = checkout / "charlstm"
    (package / "cells" / "mgu.py").write_text(*CELL, encoding="utf-8")
    (package / "cells" / "accumulator.py").write_text(CELL_WITH_INIT, encoding="utf-8")
    (package / "optimizers" / "adagrad.py").write_text(OPTIMIZER, encoding="utf-8")
    (package / "model" / "random_vectors.py").write_text(FRONT_END, encoding="utf-8")
    entries = package / "config" / "front_ends.py"
    entries.write_text(entries.read_text(encoding="utf-8").rstrip().removesuffix("}").rstrip() + FRONT_END_ENTRY)
    (package / "memory" / "experiments" / "parameters.py").write_text(EXPERIMENT, encoding="utf-8")
    sections = package / "config" / "experiments"
    (sections / "parameters.py").write_text(EXPERIMENT_CONFIG, encoding="utf-8")
    imported = "from charlstm.config.experiments.base import Experiment\n"
    edit(
        sections / "__init__.py",
        imported,
        imported + "from charlstm.config.experiments.parameters import ParametersConfig\n",
    )
    field = '    parameters: ParametersConfig | None = Field(None, description="Counts.")\n\n    def present('
    edit(sections / "__init__.py", "    def present(", field)
    (package / "cli" / "greet.py").write_text(COMMAND, encoding="utf-8")
    edit(package / "cli" / "commands.py", '    "bench",\n', '    "bench",\n    "greet",\n')
    (checkout / "data").mkdir()
    text = b"the quick brown fox jumps over the lazy dog\n" * 20
    (checkout / "data" / "fox.txt").write_bytes(text)
    entry = {
        "file": "fox.txt",
        "url": "https://example.invalid/fox.txt",
        "sha256": hashlib.sha256(text).hexdigest(),
        "bytes": len(text),
        "characters": len(text),
        "license": "public domain",
        "description": "a pangram, twenty times",
    }
    (checkout / "data" / "catalog.json").write_text(json.dumps({"fox": entry}), encoding="utf-8")
    return checkout


def run_python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_extension_of_each_kind_works(extended):
    completed = run_python(extended, "-c", TRIAL)
    assert completed.stdout.strip().endswith("all work"), completed.stdout + completed.stderr


@pytest.mark.slow
def test_extensions_pass_the_type_checker(extended):
    files = ["cells/mgu.py", "cells/accumulator.py", "optimizers/adagrad.py", "model/random_vectors.py", "cli/greet.py"]
    completed = run_python(extended, "-m", "mypy", *(f"charlstm/{name}" for name in files))
    assert completed.returncode == 0, completed.stdout + completed.stderr
