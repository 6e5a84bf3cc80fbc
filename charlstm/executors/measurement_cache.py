"""Caches measurements of this machine in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from charlstm import __version__
from charlstm.cache import open_atomic, user_cache_folder
from charlstm.errors import UserError
from charlstm.executors.cpp.build import processor


def cached_measurement(
    name: str, facts: Sequence[object], measure: Callable[[], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The result of the first call of ``measure`` with these facts on this machine; calls it if there is none.

    The processor, its instruction sets in use, the number of threads, and the versions of torch and charlstm are added
    to the facts. If several processes measure at the same time, the first to finish decides for all. If the cache
    cannot be written, each process measures for itself.
    """
    machine = (
        processor(),
        torch.backends.cpu.get_cpu_capability(),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        torch.get_num_threads(),
        torch.__version__,
        __version__,
    )
    digest = hashlib.sha256("\0".join(map(str, (*machine, *facts))).encode()).hexdigest()[:20]
    path = user_cache_folder() / "measured" / f"{name}-{digest}.json"

    def read() -> Mapping[str, Any] | None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    if (cached := read()) is not None:
        return cached
    measured = measure()
    if (cached := read()) is not None:
        return cached
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            file.write(json.dumps(measured).encode())
    except (OSError, UserError):
        return measured
    return read() or measured
