"""Measures how much faster this CPU computes matmuls in bfloat16 than in float32."""

from __future__ import annotations

import time
from functools import cache
from statistics import median

import torch

from charlstm.executors.measurement_cache import cached_measurement

SIZES = (128, 512)  # of the square matrices; the small one first, as a CPU may be very slow in bfloat16
EMULATED = 0.25
"""A speedup below which the CPU emulates bfloat16: large matmuls would take seconds and are not measured."""
ROUNDS = 15


@cache
def bfloat16_speedup() -> float:
    """The speedup of large matmuls in bfloat16 over float32, measured once per machine and cached."""
    gain = cached_measurement("bfloat16-gain", [], lambda: {"gain": _measure()}).get("gain")
    return float(gain) if isinstance(gain, (int, float)) else _measure()


def emulates_bfloat16() -> bool:
    """Whether this CPU emulates bfloat16, too slowly to train with it."""
    return bfloat16_speedup() < EMULATED


def _measure() -> float:
    """The ratio of the median times of alternating rounds."""
    gain = 0.0
    for size in SIZES:
        operands = {dtype: torch.ones(size, size, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
        seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in operands}
        for round_number in range(ROUNDS + 1):
            for dtype, a in operands.items():
                start = time.perf_counter()
                a @ a
                if round_number:  # the first is a warm-up
                    seconds[dtype].append(time.perf_counter() - start)
        gain = median(seconds[torch.float32]) / median(seconds[torch.bfloat16])
        if gain < EMULATED:
            break
    return gain
