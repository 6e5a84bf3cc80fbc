"""How much faster this CPU multiplies in bfloat16: measured once, then remembered in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from statistics import median

import torch

from charlstm.cache import user_cache_folder, written_whole
from charlstm.errors import UserError
from charlstm.executors.native.build import processor

SIDE = 512  # of the square matrices that are multiplied
ROUNDS = 15


@cache
def bfloat16_gain() -> float:
    """How many times as fast as in float32 large products are in bfloat16."""
    facts = "\0".join([processor(), torch.__version__, str(torch.get_num_threads())])
    path = user_cache_folder() / "kernels" / f"products-{hashlib.sha256(facts.encode()).hexdigest()[:20]}.json"
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["bfloat16_gain"])
    except (OSError, ValueError, KeyError, TypeError):
        gain = _measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(json.dumps({"bfloat16_gain": gain}).encode())
    except (OSError, UserError):
        pass  # measured anew next time
    return gain


def _measure() -> float:
    """The ratio of the medians of alternating rounds."""
    operands = {dtype: torch.ones(SIDE, SIDE, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in operands}
    for number in range(ROUNDS + 1):
        for dtype, a in operands.items():
            start = time.perf_counter()
            a @ a
            if number:
                seconds[dtype].append(time.perf_counter() - start)
    return median(seconds[torch.float32]) / median(seconds[torch.bfloat16])
