"""The script samples with torch.nn alone, from the same logits as the model."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import IDS, logits_of, run_of

from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.exports.torch_script import SCRIPT, torch_cell, torch_files
from charlstm.text.vocabulary import Vocabulary

RUN_SCRIPTS = """
import json, runpy, sys
import torch
sys.modules["charlstm"] = None  # cannot be imported
results = []
for path, ids, prompt in json.loads(sys.argv[1]):
    script = runpy.run_path(path)
    logits, state = script["predict"](torch.tensor(ids[:5]))
    rest, _ = script["predict"](torch.tensor(ids[5:]), state)
    torch.manual_seed(1)
    results.append([torch.cat([logits, rest]).tolist(), script["sample"](prompt, 20), script["sample"](length=3)])
print(json.dumps(results))
"""
BYTES = Vocabulary.from_text("a中\n".encode())
KINDS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "ablate": "hidden_gradient", "front_end": "one_hot"},
    {"cell": "gru", "num_layers": 3, "residual": True, "direction": "backward"},
    {"cell": "rnn", "num_layers": 3, "output": "sum"},
    {"cell": "rnn", "nonlinearity": "relu", "num_layers": 1, "front_end": "one_hot"},
    {"cell": "rnn", "vocabulary": BYTES},
]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / SCRIPT


def test_logits_are_the_same_without_charlstm(tmp_path):
    runs = [run_of(**fields) for fields in KINDS]
    prompts = ["ab", "\n", "a", "中c", "", "中a"]
    all_ids = [[run.vocabulary.size, *(i % run.vocabulary.size for i in IDS[1:])] for run in runs]
    scripts = [write(tmp_path / str(n), torch_files(run, 'a "run"')) for n, run in enumerate(runs)]
    arguments = json.dumps([[str(s), ids, p] for s, ids, p in zip(scripts, all_ids, prompts, strict=True)])
    command = [sys.executable, "-W", "error", "-c", RUN_SCRIPTS, arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for run, prompt, ids, (logits, text, short) in zip(runs, prompts, all_ids, json.loads(done.stdout), strict=True):
        np.testing.assert_allclose(logits, logits_of(run, ids), atol=2e-5, rtol=1e-5)
        if run.vocabulary.kind == "characters":
            assert len(text) == len(prompt) + 20
            assert len(short) == 3
        assert text.endswith(prompt) if run.model.direction == "backward" else text.startswith(prompt)


def test_script_is_short_and_valid():
    for fields in KINDS:
        source = torch_files(run_of(**fields), "a run")[SCRIPT].decode("utf-8")
        ast.parse(source)
        assert "charlstm" not in source
        assert len([line for line in source.splitlines() if line.strip()]) <= 42


def run_script(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", "-W", "error", str(script), *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)


def test_script_takes_temperature_0_and_names_unknown_characters(tmp_path):
    run = run_of()
    script = write(tmp_path / "run", torch_files(run, "a run"))
    lead_in = run.header["lead_ins"][0]
    greedy = run.generate(lead_in + "ab", 20, temperature=0, lead_in=False)
    assert run_script(script, "ab", "20", "0").stdout == "ab" + greedy[0].text + "\n"
    done = run_script(script, "aβ'b")
    assert done.stderr == """the model does not know ["'", 'β']: leave them out\n"""
    assert done.returncode == 1


def test_script_prepares_a_text_as_the_training_text_was(tmp_path):
    vocabulary = Vocabulary.from_text("aé σ\n")
    run = run_of(vocabulary, {"lowercase": True, "normalize": True})
    script = write(tmp_path / "run", torch_files(run, "a run"))
    assert run_script(script, "AE\u0301 Σ", "0").stdout == run.prepare("AE\u0301 Σ") + "\n" == "aé σ\n"


def test_symbols_that_cannot_be_printed_are_escaped():
    vocabulary = Vocabulary(tuple(sorted("\0\n'\"\\{}\u2028\ud800\U0001f600")))
    source = torch_files(run_of(vocabulary), "a run")[SCRIPT].decode("utf-8")
    assert f"symbols = {''.join(vocabulary.symbols)!r}" in source


def test_cells_of_torch_are_recognized_by_their_equations():
    equal = {name: other.name for name, cell in CELLS.items() if (other := torch_cell(cell))}
    assert equal.items() >= {"lstm": "lstm", "gru": "gru", "rnn": "rnn", "lstm_no_hidden_gradient": "lstm"}.items()
    assert not equal.keys() & {"peephole", "coupled", "gru_reset_before", "leaky", "esn", "lstm_no_forget_gate"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "peephole"}, "equations of peephole; it has those of lstm; gru with reset_after: true; .* --to onnx"),
        ({"cell": "capped"}, "Train with one of them, such as --set model.cell=lstm, or export --to onnx, html or hub"),
        ({"cell": "gru", "reset_after": False}, "equations of gru with reset_after: false"),
        ({"front_end": "convolution"}, "--to torch takes the front ends one_hot and embedding"),
        ({"direction": "bidirectional"}, "no step to export"),
    ],
)
def test_what_torch_does_not_have_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        torch_files(run_of(**fields), "a run")


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_script_ends_where_a_document_ends(tmp_path, direction):
    run = run_of(corpus={"documents": "newline"}, cell="lstm", direction=direction)
    script = write(tmp_path / "run", torch_files(run, "run"))
    code = (
        "import runpy, sys; sample = runpy.run_path(sys.argv[1])['sample']; print([sample('a', 60) for _ in range(8)])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(script)], capture_output=True, text=True, check=True)
    texts = ast.literal_eval(done.stdout)
    assert any(len(text) < 61 for text in texts)
    for text in texts:
        written = text[1:] if direction == "forward" else text[:-1][::-1]
        assert written.find("\n") in (-1, len(written) - 1)
        assert len(text) == 61 or written.endswith("\n")
