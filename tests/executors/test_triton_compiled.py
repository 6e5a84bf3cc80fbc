"""The kernels compile for an NVIDIA GPU, where none is needed to compile them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.cells import CELLS

pytest.importorskip("triton")
KERNELS = {
    "lstm": ["stage_0", "first", "stage_0", "last"],
    "peephole": ["stage_0", "first", "stage_0", "last"],
    "gru_reset_before": ["stage_0", "stage_1", "first", "stage_1", "stage_0", "last"],
}


def compiled(tmp_path: Path, kind: str, cells: list[str]) -> dict[str, list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("compile_kernels.py")
    command = [sys.executable, "-W", "error", str(script), kind, *cells]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("kind", "cells"), [("bfloat16", [*KERNELS]), ("float32", ["lstm"])])
def test_each_kernel_of_a_step_is_compiled_once_for_all_steps(tmp_path, kind, cells):
    assert compiled(tmp_path, kind, cells) == {name: KERNELS[name] for name in cells}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_the_kernels_of_all_cells_compile(tmp_path, kind):
    assert compiled(tmp_path, kind, [*CELLS]).keys() == CELLS.keys()
