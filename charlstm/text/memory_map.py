"""Release of the memory of memory-mapped arrays."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt


def release(ids: npt.NDArray[np.integer]) -> None:
    """Release the pages of a memory-mapped array; reading them again loads them again.

    Otherwise the resident size of the process includes every page that it has ever read. Has no effect on arrays in
    memory, or if the system does not support it.
    """
    base: object = ids
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
