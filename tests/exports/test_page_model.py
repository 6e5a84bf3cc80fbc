"""The model of the page computes what the Python model with the same 8-bit weights does, in a browser and in Node."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from steps import IDS, STEP_KINDS, UNUSUAL, logits_of, run_of, step_of

from charlstm.compiler.javascript_printer import javascript_step
from charlstm.exports.page_weights import page_weights
from charlstm.exports.quantization import quantized_copy
from charlstm.exports.step_weights import StepWeights, step_weights

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NODE = shutil.which("node")
MODEL = resources.files("charlstm.exports").joinpath("model.js").read_text(encoding="utf-8")
RUN_STEPS = """
const run = async ([data, step]) => {
  const model = new Model(data, await decompress(data.weights.data), step);
  const first = IDS.map((id) => Array.from(model.read(id)));
  model.reset();
  IDS.slice(0, 5).forEach((id) => model.read(id));
  const saved = model.save();
  model.read(0);
  model.restore(saved);
  return [first, IDS.slice(5).map((id) => Array.from(model.read(id)))];
};
"""

Evaluate = Callable[[str], Any]


def in_node(tmp_path: Path) -> Evaluate:
    def evaluate(script: str) -> Any:
        file = tmp_path / "script.js"
        file.write_text(f"{MODEL}\n(async () => console.log(JSON.stringify(await (async () => {{{script}}})())))();")
        done = subprocess.run([str(NODE), file], capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout)

    return evaluate


def in_chromium(tmp_path: Path) -> Evaluate:
    def evaluate(script: str) -> Any:
        file = tmp_path / "page.html"
        body = f"document.body.textContent = JSON.stringify(await (async () => {{{script}}})());"
        file.write_text(f"<body><script>{MODEL}\n(async () => {{{body}}})();</script></body>", encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [str(CHROMIUM), *options, "--virtual-time-budget=20000", "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
        return json.loads(html.unescape(re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)[1]))  # type: ignore[index]

    return evaluate


@pytest.fixture(
    params=[
        pytest.param(in_node, marks=pytest.mark.skipif(NODE is None, reason="needs Node"), id="node"),
        pytest.param(in_chromium, marks=pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"), id="chromium"),
    ]
)
def evaluate(request: pytest.FixtureRequest, tmp_path: Path) -> Evaluate:
    return request.param(tmp_path)


def results_of(evaluate: Evaluate, steps: list[StepWeights]) -> list[Any]:
    """For each step, the logits after each of ``IDS``, and those after a return to a saved state."""
    pairs = (f"[{json.dumps(page_weights(step))}, {javascript_step(step.cell)}]" for step in steps)
    script = f"const IDS = {IDS};{RUN_STEPS}return Promise.all([{','.join(pairs)}].map(run));"
    results: list[Any] = evaluate(script)
    return results


def assert_equal(results: list[Any], expected: list[torch.Tensor], names: list[str]) -> None:
    for (logits, after), reference, name in zip(results, expected, names, strict=True):
        np.testing.assert_allclose(logits, reference, atol=1e-4, rtol=1e-5, err_msg=name)
        assert after == logits[5:], name


def test_every_cell_and_front_end_has_the_same_logits(evaluate):
    runs = [run_of(**fields) for fields in STEP_KINDS]
    quantized = [replace(run, model=quantized_copy(run.model)) for run in runs]
    expected = [logits_of(run) for run in quantized]
    results = results_of(evaluate, [step_weights(run.model) for run in quantized])
    assert_equal(results, expected, list(map(str, STEP_KINDS)))


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_cells_with_unusual_equations_have_the_same_logits(tmp_path):
    steps, expected = zip(*(step_of(cell) for cell in UNUSUAL), strict=True)
    assert_equal(results_of(in_node(tmp_path), list(steps)), list(expected), [cell.name for cell in UNUSUAL])


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_random_numbers_are_those_of_torch(tmp_path):
    seeds = [0, 1, 7, 2**32 + 5, 2**53 - 1]
    script = (
        f"return {seeds}.map((s) => {{ const r = new Random(s); return Array.from(Array(700), () => r.uniform()); }})"
    )
    for seed, numbers in zip(seeds, in_node(tmp_path)(script), strict=True):
        generator = torch.Generator().manual_seed(seed)
        assert numbers == torch.rand((700, 1), dtype=torch.float64, generator=generator)[:, 0].tolist()


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_draws_follow_the_cumulative_probabilities(tmp_path):
    logits = [0.0, 2.0, -1.0, 1000.0, 999.0]
    script = f"return [0, 0.7, 0.74, 0.999].map((u) => draw({logits}, 1, u)).concat(draw({logits}, 0, 0.99))"
    assert in_node(tmp_path)(script) == [3, 3, 4, 4, 3]
