"""The n-grams of one size of a text, by their hashes, and which of them have occurred in another text."""

from __future__ import annotations

import numpy as np

from charlstm.novelty.hashes import Flags, Hashes, Ids, Positions, equal_ngrams

SPARSITY_BITS = 4
"""A filter has at least 2^4 entries for each hash."""
MIN_FILTER_BITS, MAX_FILTER_BITS = 14, 22


class HashFilter:
    """Whether a hash may be one of the given ones: never a false no."""

    def __init__(self, hashes: Hashes) -> None:
        bits = min(max(len(hashes).bit_length() + SPARSITY_BITS, MIN_FILTER_BITS), MAX_FILTER_BITS)
        self.capacity = len(hashes)
        self._shift = np.uint64(64 - bits)
        self._flags = np.zeros(1 << bits, bool)
        self._flags[hashes >> self._shift] = True

    def __call__(self, hashes: Hashes) -> Flags:
        flags: Flags = self._flags[hashes >> self._shift]
        return flags

    def remove(self, hashes: Hashes, others: Hashes) -> None:
        """Remove some of the hashes; ``others`` are the remaining ones."""
        self._flags[hashes >> self._shift] = False
        self._flags[others >> self._shift] = True


class NgramIndex:
    """The distinct n-grams of a text [M].

    hashes [K]: their hashes, ascending; ``filter``: their filter. Those that have not occurred yet are looked up.
    """

    def __init__(self, text: Ids, size: int, hashes: Hashes) -> None:
        self.size, self._text = size, text
        self.hashes, self._first, self._group = np.unique(hashes, return_index=True, return_inverse=True)
        self.filter = HashFilter(self.hashes)
        self._occurs = np.zeros(len(self.hashes), bool)
        self._missing = np.arange(len(self.hashes))
        self._missing_hashes, self._missing_filter = self.hashes, HashFilter(self.hashes)

    def find(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """The positions of the given hashes that are those of n-grams of the text, and the numbers of these n-grams."""
        return _find(self.filter, self.hashes, hashes)

    def look_up(self, block: Ids, positions: Positions | None, hashes: Hashes) -> None:
        """Note which missing n-grams occur in a block of another text, given the hashes of those at the positions, or
        of all."""
        if not len(self._missing):
            return
        at, numbers = _find(self._missing_filter, self._missing_hashes, hashes)
        if not len(at):
            return
        numbers, first = np.unique(numbers, return_index=True)
        at = at[first] if positions is None else positions[at[first]]
        # Of all n-grams with a hash one is compared: another one, which hardly exists, is not said to occur.
        same = equal_ngrams(block, at, self._text, self._first[self._missing[numbers]], self.size)
        numbers = numbers[same]
        self._occurs[self._missing[numbers]] = True
        removed = self._missing_hashes[numbers]
        self._missing, self._missing_hashes = (
            np.delete(self._missing, numbers),
            np.delete(self._missing_hashes, numbers),
        )
        if 2 * len(self._missing) < self._missing_filter.capacity:
            self._missing_filter = HashFilter(self._missing_hashes)
        else:
            self._missing_filter.remove(removed, self._missing_hashes)

    def occurring(self) -> Flags:
        """Whether each n-gram of the text [M - n + 1] has occurred: all of its ids were equal."""
        flags: Flags = self._occurs[self._group]
        at = np.flatnonzero(flags)
        flags[at] = equal_ngrams(self._text, at, self._text, self._first[self._group[at]], self.size)
        return flags

    def places(self, most: int) -> tuple[Positions, Positions, Positions]:
        """The positions of all n-grams in the text, grouped by number; where each group begins, and its length, which
        is at most ``most``."""
        order = np.argsort(self._group, kind="stable")
        counts = np.bincount(self._group, minlength=len(self.hashes))
        return order, np.cumsum(counts) - counts, np.minimum(counts, most)


def _find(hash_filter: HashFilter, ascending: Hashes, hashes: Hashes) -> tuple[Positions, Positions]:
    at = np.flatnonzero(hash_filter(hashes))
    wanted = hashes[at]
    numbers = np.searchsorted(ascending, wanted)
    numbers[numbers == len(ascending)] = 0
    equal = ascending[numbers] == wanted if len(ascending) else np.zeros(len(at), bool)
    return at[equal], numbers[equal]
