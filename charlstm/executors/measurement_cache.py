"""Caches measurements of this machine in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
    path = _path(name, facts)
    if (cached := _read(path)) is not None:
        return cached
    measured = measure()
    if (cached := _read(path)) is not None:
        return cached
    store_measurement(name, facts, measured)
    return _read(path) or measured


def store_measurement(name: str, facts: Sequence[object], measured: Mapping[str, Any]) -> None:
    """Replace the result for these facts, if the cache can be written."""
    path = _path(name, facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            file.write(json.dumps(measured).encode())
    except (OSError, UserError):
        return


def _path(name: str, facts: Sequence[object]) -> Path:
    machine = (
        processor(),
        torch.backends.cpu.get_cpu_capability(),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        torch.get_num_threads(),
        torch.__version__,
        __version__,
    )
    digest = hashlib.sha256("\0".join(map(str, (*machine, *facts))).encode()).hexdigest()[:20]
    return user_cache_folder() / "measured" / f"{name}-{digest}.json"


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
