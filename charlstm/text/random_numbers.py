"""Random numbers that depend only on their seeds, not on libraries or the machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def random_numbers(count: int, *seeds: int) -> npt.NDArray[np.uint64]:
    """``count`` different 64-bit numbers from SplitMix64 (Steele, Lea & Flood 2014); more of them begin with the same
    ones."""
    with np.errstate(over="ignore"):
        key = np.zeros(1, np.uint64)
        for seed in seeds:
            key = _mix(key + np.uint64(seed))
        return _mix(np.arange(count, dtype=np.uint64) + key)


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z: npt.NDArray[np.uint64] = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
