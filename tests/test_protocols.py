"""No module outside of executors and front ends refers to one by its name or class."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import charlstm
from charlstm.cells import CELLS
from charlstm.config import ModelConfig, TrainingConfig
from charlstm.executors import executors, permits
from charlstm.model import LanguageModel
from charlstm.model.front_end import FrontEnd
from charlstm.training.memory_estimate import BatchShape, memory_breakdown, summarize_memory

PACKAGE = Path(charlstm.__file__).parent
NAMES = {"reference", "eager", "vendor", "cpp", "triton"}
CLASSES = {"Reference", "Eager", "Vendor", "Cpp", "Triton", "OneHot", "Embedding", "Convolution"}
ALLOWED = {"config/schema.py", "config/problems.py", "benchmark/checkup.py", "benchmark/environment.py"}


def find_references(tree: ast.AST) -> Iterator[str]:
    """Yield the executor names in a module, and the executor and front-end classes in its isinstance checks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            class_names = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.args[1])}
            yield from (f"line {node.lineno}: isinstance(..., {name})" for name in sorted(class_names & CLASSES))


def test_no_module_refers_to_an_executor_or_front_end():
    # The schema lists the valid names, and problems.py suggests them; in benchmark/ triton is a package.
    offenders = {
        module: references
        for path in PACKAGE.rglob("*.py")
        if (module := path.relative_to(PACKAGE).as_posix()) not in ALLOWED
        and not module.startswith("executors/")
        and (references := list(find_references(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert not offenders


def test_schema_lists_all_executor_names():
    assert set(executors()) == NAMES
    for name in ("auto", *NAMES):
        assert ModelConfig(executor=name).executor == name


@pytest.mark.parametrize("source", ['x in ("auto", "cpp")', "isinstance(x, Convolution)", 'others["triton"]'])
def test_references_are_detected(source):
    assert list(find_references(ast.parse(source)))


@pytest.mark.parametrize("executor", executors().values(), ids=list(executors()))
def test_a_request_permits_only_its_executor(executor):
    assert permits(executor.name, executor)
    assert permits("auto", executor) == executor.automatic == (executor.name != "reference")
    assert not any(permits(executor.name, other) for other in executors().values() if other is not executor)


@pytest.mark.parametrize("front_end", ["one_hot", "embedding", "convolution"])
def test_front_end_adds_its_state(front_end):
    model = LanguageModel(ModelConfig(hidden_size=4, front_end=front_end), 5)
    assert isinstance(model.front_end, FrontEnd)
    added = model.front_end.initial_state(3)
    assert len(model.initial_state(3)) == len(model.recurrent.cell.state) + len(added)
    ids, after = model.front_end.with_window(torch.arange(6).remainder(5).view(2, 3), added)
    assert ids.shape == (2 + model.front_end.window, 3)
    assert [part.shape for part in after] == [part.shape for part in added]
    assert (model.front_end.incremental(3, torch.float32) is None) == model.front_end.outputs_ids


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_memory_estimate_needs_no_trainer(cell):
    model = LanguageModel(ModelConfig(cell=cell, hidden_size=8, num_layers=2, front_end="one_hot"), 7)
    device, batches = torch.device("cpu"), BatchShape(4, 10, text_bytes=100)

    def saved_bytes(name: str) -> int:
        layers = [executors()[name]] * 2
        return memory_breakdown(TrainingConfig(), model, batches, layers, device, "float32")["saved activations"]

    gates, parts = len(CELLS[cell].gates), len(CELLS[cell].state)
    assert saved_bytes("eager") == saved_bytes("reference") == 40 * 2 * 8 * 4 * (2 * gates + 3 * parts)
    assert saved_bytes("vendor") == 40 * (2 * 8 * 4 * (gates + 2 * parts) + 4 * 7), (
        "one-hot vectors for the first layer"
    )
    parts_of = memory_breakdown(TrainingConfig(), model, batches, [executors()["cpp"]] * 2, device, "float32")
    need = summarize_memory(parts_of, batches, 8)
    assert (need.fixed + need.activations, need.processes) == (sum(parts_of.values()), 1)
    assert parts_of["text"] == 100
