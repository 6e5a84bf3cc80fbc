"""Other instruction sets, other kernels of the matmuls, other orders of summation: the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
import charlstm
from charlstm.compression.codec import coder_of, compress
run = charlstm.load(sys.argv[1], device="cpu")
coder = coder_of(run.model, run.vocabulary, run.config, 0)
for rate in (0, 6):
    print(hashlib.sha256(compress(coder, b"the cat sat on a mat and two dogs " * 20, 5, rate=rate).pack()).hexdigest())
"""
MACHINES = [
    {},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"},
    {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "3"},
]


@pytest.mark.slow
def test_other_kernels_give_the_same_bytes(tiny_run):
    outputs = []
    for variables in MACHINES:
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tiny_run)]
        result = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
        outputs.append(result.stdout)
    assert len(set(outputs)) == 1
    assert len(set(outputs[0].split())) == 2
