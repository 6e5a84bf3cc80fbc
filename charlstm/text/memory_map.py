"""Memory maps that do not fill the memory."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt


def release(ids: npt.NDArray[np.integer]) -> None:
    """Give back the pages that a memory-mapped array holds in memory; reading them again brings them back.

    Without this a process counts as large as all of the file that it has ever read. An array in memory, and a system
    that cannot do it, are left alone.
    """
    below: object = ids
    while isinstance(below, np.ndarray):
        below = below.base
    if isinstance(below, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        below.madvise(mmap.MADV_DONTNEED)
