"""The size of a content in other programs' formats, for comparison."""

from __future__ import annotations

import importlib
import lzma
import shutil
import subprocess
from typing import Any

ZSTD_LEVEL = 19
TIME_LIMIT = 600.0  # seconds


def xz_size(content: bytes) -> int:
    """Bytes of the xz file at the highest setting, ``xz -9e``."""
    return len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def zstd_size(content: bytes) -> int | None:
    """Bytes of the zstd file at level 19, by Python 3.14 or the program ``zstd``; None if there is neither."""
    try:
        zstd: Any = importlib.import_module("compression.zstd")
        return len(zstd.compress(content, level=ZSTD_LEVEL))
    except ImportError:
        pass
    program = shutil.which("zstd")
    if program is None:
        return None
    command = [program, f"-{ZSTD_LEVEL}", "--quiet", "--stdout"]
    try:
        return len(subprocess.run(command, input=content, capture_output=True, check=True, timeout=TIME_LIMIT).stdout)
    except (OSError, subprocess.SubprocessError):
        return None
