"""The ONNX model of every cell computes what the model does, in onnxruntime, with its state in and out."""

from __future__ import annotations

import json
from typing import Any

import markdown_files
import numpy as np
import pytest
from reference import ROOT
from steps import IDS, STEP_KINDS, UNUSUAL, logits_of, run_of, step_of

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.text.vocabulary import Vocabulary

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from charlstm.exports.onnx_model import OPSET, onnx_bytes, step_model  # noqa: E402


def session_of(content: bytes) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def logits_by_onnx(session: Any, batch: int = 1) -> list[Any]:
    """The logits [T, B, V] after each of ``IDS``, the same text in each row."""
    dtypes = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    sizes = {one.name: [batch if n == "batch" else n for n in one.shape] for one in session.get_inputs()}
    types = {one.name: dtypes[one.type] for one in session.get_inputs()}
    outputs = [one.name for one in session.get_outputs()]
    state = {name: np.zeros(sizes[name], types[name]) for name in sizes if name != "character"}
    logits = []
    for id in IDS:
        new = dict(zip(outputs, session.run(None, {"character": np.full(batch, id), **state}), strict=True))
        assert {name: one.shape for name, one in state.items()} == {name: new[f"new_{name}"].shape for name in state}
        state = {name: new[f"new_{name}"] for name in state}
        logits.append(new["logits"])
    return logits


@pytest.mark.parametrize("fields", STEP_KINDS, ids=str)
def test_every_cell_and_front_end_has_the_same_logits(fields):
    run = run_of(**fields)
    logits = logits_by_onnx(session_of(onnx_bytes(run, "a run")), batch=2)
    for row in range(2):
        np.testing.assert_allclose([one[row] for one in logits], logits_of(run), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", UNUSUAL, ids=lambda cell: cell.name)
def test_unusual_equations_have_the_same_logits(cell):
    weights, expected = step_of(cell)
    session = session_of(step_model(weights, cell.name, {}).SerializeToString())
    np.testing.assert_allclose([one[0] for one in logits_by_onnx(session)], expected, atol=2e-5, rtol=1e-5)


def test_metadata_says_how_to_use_it():
    run = run_of(front_end="convolution", embedding_size=5, kernel_sizes=[1, 3], filters=4)
    model = onnx.load_model_from_string(onnx_bytes(run, "a run"))
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["vocabulary"]) == list(run.vocabulary.symbols)
    assert json.loads(metadata["states"]) == {"h": "new_h", "c": "new_c", "window": "new_window"}
    assert metadata["no_character"] == "7"
    assert metadata["direction"] == "forward"
    assert metadata["unit"] == "character"
    assert [json.loads(metadata[name]) for name in ("lowercase", "normalize")] == [False, []]
    assert metadata["text"] == "a text.txt"
    assert [one.version for one in model.opset_import] == [OPSET]
    assert {node.domain for node in model.graph.node} == {""}, "standard operators alone"


def test_example_of_the_readme_samples(tmp_path, monkeypatch, capsys):
    (example,) = markdown_files.blocks(ROOT / "charlstm" / "exports" / "README.md", "py")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    for fields in ({}, {"front_end": "convolution"}):
        run = run_of(Vocabulary.from_text("a def\n"), **fields)
        (tmp_path / "quickstart.onnx").write_bytes(onnx_bytes(run, "quickstart"))
        exec(compile(example, "README", "exec"), {})
        assert len(capsys.readouterr().out) == 200 + 1
    run = run_of(Vocabulary.from_text("a def\n"), corpus={"source": "a", "documents": "newline"})
    (tmp_path / "quickstart.onnx").write_bytes(onnx_bytes(run, "quickstart"))
    exec(compile(example, "README", "exec"), {})
    written = capsys.readouterr().out
    assert len(written) == 200 + 1 or written.count("\n") == 2, "it ends where a document ends"


def test_bidirectional_model_is_refused():
    run: LoadedRun = run_of(direction="bidirectional")
    with pytest.raises(UserError, match="no step to export"):
        onnx_bytes(run, "a run")
