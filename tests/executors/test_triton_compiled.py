"""The Triton kernels compile for an NVIDIA GPU, on a machine without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.cells import CELLS

triton = pytest.importorskip("triton")
KERNELS = {
    "lstm": ["stage_0", "first", "stage_0", "last"],
    "peephole": ["stage_0", "first", "stage_0", "last"],
    "gru_reset_before": ["stage_0", "stage_1", "first", "stage_1", "stage_0", "last"],
}


FORMS = {"usual": "4,32,1", "one text": "1,32,1", "large": "64,512,1", "odd": "3,33,1", "no gradients": "4,32,0"}
"""Batch size, hidden size, and whether it trains: Triton specializes kernels for 1 and for multiples of 16."""


def compile_kernels(tmp_path: Path, jobs: list[str], capability: int = 90) -> dict[str, list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("compile_kernels.py")
    command = [sys.executable, "-W", "error", str(script), str(capability), *jobs]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def expected_kernels(cell: str, form: str) -> list[str]:
    kernels = KERNELS[cell]
    return kernels if form.endswith("1") else kernels[: kernels.index("first")]


CASES = [*((cell, "bfloat16", "usual") for cell in KERNELS), ("lstm", "float32", "usual")]
CASES += [("lstm", "bfloat16", form) for form in FORMS if form != "usual"]


@pytest.mark.slow
@pytest.mark.parametrize("cases", [CASES], ids=["all"])
def test_each_kernel_is_compiled_once_for_all_steps(tmp_path, cases):
    jobs = {f"{cell},{kind},{FORMS[form]}": expected_kernels(cell, FORMS[form]) for cell, kind, form in cases}
    assert compile_kernels(tmp_path, [*jobs]) == jobs


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), [("float32", "usual"), *(("bfloat16", form) for form in FORMS)])
def test_kernels_of_all_cells_compile(tmp_path, kind, form):
    jobs = [f"{cell},{kind},{FORMS[form]}" for cell in CELLS]
    assert all(kernels for kernels in compile_kernels(tmp_path, jobs).values())


TILES = ("16x8", "32x8", "32x4")
PERSISTENT = [
    f"{cell},bfloat16,32,{size},1,persistent{tiles}"
    for cell in (*KERNELS, "capped+state_dropout")
    for size in (256, 512)
    for tiles in TILES
]
PERSISTENT += [f"{cell},bfloat16,32,256,1,persistent16x8" for cell in CELLS if cell not in KERNELS]
LARGE = (8,) if triton.__version__.startswith("3.6.") else (4, 8)  # in four parts, its ptxas spills 80 to 120 bytes
PERSISTENT += [f"{cell},bfloat16,16,1024,1,persistent16x{parts}" for cell in ("lstm", "gru") for parts in LARGE]
PERSISTENT += ["gru,bfloat16,16,768,1,persistent16x8", "lstm,bfloat16,32,192,1,persistent16x4"]
PERSISTENT += [f"lstm,float32,32,256,1,persistent{tiles}" for tiles in TILES]


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_persistent_kernels_compile_without_spills(tmp_path, capability):
    jobs = {job: ["run", "run"] for job in PERSISTENT}
    assert compile_kernels(tmp_path, [*jobs], capability) == jobs


def test_persistent_kernel_of_the_lstm_compiles(tmp_path):
    job = PERSISTENT[0]
    assert compile_kernels(tmp_path, [job]) == {job: ["run", "run"]}
