"""Hashes of n-grams of ids. Equal n-grams have equal hashes; unequal ones are told apart by comparing their ids."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]
Positions = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

BASE = 0x9E3779B97F4A7C15
_SEED = 20


@cache
def _symbol_hashes(count: int) -> Hashes:
    """A random number for each of the ids below ``count``."""
    return np.random.default_rng(_SEED).integers(0, 2**64, count, np.uint64)


def ngram_hashes(ids: Ids, sizes: tuple[int, ...], symbols: int) -> dict[int, Hashes]:
    """For each size n the hashes of all n-grams [N - n + 1] of ids [N] below ``symbols``: sum over k of
    r(id_k) BASE^(n - 1 - k) modulo 2^64. The n-grams of one size are joined from those of half the size."""
    known = {1: _symbol_hashes(symbols).take(ids)}

    def of(n: int) -> Hashes:
        if n not in known:
            left, right, count = of((n + 1) // 2), of(n // 2), max(0, len(ids) - n + 1)
            known[n] = joined_hashes(left[:count], right[(n + 1) // 2 : (n + 1) // 2 + count], n // 2)
        return known[n]

    return {n: of(n) for n in sizes}


def joined_hashes(left: Hashes, right: Hashes, size: int) -> Hashes:
    """The hashes of n-grams, each followed by an n-gram of ``size``."""
    hashes: Hashes = left * np.uint64(pow(BASE, size, 1 << 64))
    hashes += right
    return hashes


def equal_ngrams(a: Ids, at: Positions, b: Ids, bt: Positions, size: int) -> Flags:
    """Whether the n-grams at the positions ``at`` of a and ``bt`` of b are equal."""
    same = np.ones(len(at), bool)
    for offset in range(size):
        same &= a[at + offset] == b[bt + offset]
    return same
