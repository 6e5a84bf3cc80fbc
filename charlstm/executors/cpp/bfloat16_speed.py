"""How much faster this CPU multiplies in bfloat16."""

from __future__ import annotations

import time
from functools import cache
from statistics import median

import torch

from charlstm.executors.measurement_cache import cached_measurement

SIDES = (128, 512)  # of the square matrices that are multiplied: small ones first, as a CPU may be very slow at it
EMULATED = 0.25
"""A gain below which a CPU only imitates bfloat16: large products would take seconds and need not be measured."""
ROUNDS = 15


@cache
def bfloat16_gain() -> float:
    """How many times as fast as in float32 large products are in bfloat16: measured once, then remembered."""
    gain = cached_measurement("bfloat16-gain", [], lambda: {"gain": _measure()}).get("gain")
    return float(gain) if isinstance(gain, (int, float)) else _measure()


def imitates_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 so slowly that nobody would train with it."""
    return bfloat16_gain() < EMULATED


def _measure() -> float:
    """The ratio of the medians of alternating rounds."""
    gain = 0.0
    for side in SIDES:
        operands = {dtype: torch.ones(side, side, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
        seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in operands}
        for number in range(ROUNDS + 1):
            for dtype, a in operands.items():
                start = time.perf_counter()
                a @ a
                if number:
                    seconds[dtype].append(time.perf_counter() - start)
        gain = median(seconds[torch.float32]) / median(seconds[torch.bfloat16])
        if gain < EMULATED:
            break
    return gain
