"""The boundaries of the training, validation and test splits: at the end of the text, in blocks, or by files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.text.documents import Documents, permutation

SPLITS = ("train", "validation", "test")
SHUFFLE_SEED = 1
"""Seed of the order of documents and files; it does not depend on the run, so that what is held out stays held out."""
MIN_BLOCK = 32
"""Characters of the shortest block."""
WHOLE_TEXT = "train on all of it with --set corpus.validation_fraction=0"
"""What to do with a text that is too short to be split."""
MAX_GAP = 128
"""Characters on each side of a block that belong to no split; they are the context of its first characters."""

Boundaries: TypeAlias = tuple[Fraction, Fraction]
Spans: TypeAlias = npt.NDArray[np.int64]
"""``[K, 2]``: begin and end of K disjoint parts of a text, ascending."""


def cumulative_fractions(validation: float, test: float) -> Boundaries:
    """The fractions of the text at which the training split and the validation split end.

    Raises:
        UserError: they leave no training text.
    """
    # Exact decimal fractions: in floating point, 1 - 0.9 of ten characters rounds down to none.
    parts = Fraction(str(validation)), Fraction(str(test))
    if min(parts) < 0 or sum(parts) >= 1:
        raise UserError(
            f"corpus.validation_fraction ({validation}) and corpus.test_fraction ({test}) must be at least 0 "
            "and together less than 1"
        )
    return 1 - parts[0] - parts[1], 1 - parts[1]


def document_boundaries(documents: Documents, boundaries: Boundaries, name: str, hint: str = "") -> tuple[int, int]:
    """The numbers of documents at which the training split and the validation split end.

    The fractions of characters are as near as possible to ``boundaries`` (`cumulative_fractions`), with at least one
    document in each split whose fraction is above 0.

    Raises:
        UserError: there are fewer documents than splits.
    """
    check_enough_documents(len(documents), boundaries, name, hint)
    return _nearest_boundaries(documents.ends - documents.starts + len(documents.end_mark), boundaries)


def check_enough_documents(count: int, boundaries: Boundaries, name: str, hint: str = "") -> None:
    """Raise UserError if there are fewer documents than splits."""
    has_validation, has_test = _is_held_out(boundaries)
    if count < 1 + has_validation + has_test:
        remedy = hint or "Use another separator, or a longer text" + (f", or {WHOLE_TEXT}" if has_validation else "")
        raise UserError(
            f"{name}: corpus.documents splits it into {'1 document' if count == 1 else f'{count} documents'}: too few "
            f"for training, validation and test. {remedy}"
        )


def _is_held_out(boundaries: Boundaries) -> tuple[bool, bool]:
    """Whether there is a validation split, and a test split."""
    return boundaries[0] < boundaries[1], boundaries[1] < 1


def _nearest_boundaries(lengths: npt.NDArray[np.int64], boundaries: Boundaries) -> tuple[int, int]:
    count, (has_validation, has_test) = len(lengths), _is_held_out(boundaries)
    ends = np.cumsum(lengths)
    train, validation = (int(np.abs(ends - int(int(ends[-1]) * fraction)).argmin()) + 1 for fraction in boundaries)
    train = min(train, count - has_validation - has_test)
    return train, min(max(validation, train + has_validation), count - has_test)


def spread_blocks(total: int, lengths: Sequence[int], blocks: int) -> list[Spans]:
    """For each part, which has ``lengths`` of the positions below ``total``, its spans: ``blocks`` spans of equal
    length (they differ by at most one), evenly spread; the spaces between the spans are equal, too. Empty spans are
    left out."""
    slots = np.array([total * k // blocks for k in range(blocks + 1)], np.int64)
    sizes = np.array([n * (k + 1) // blocks - n * k // blocks for n in lengths for k in range(blocks)], np.int64)
    sizes = sizes.reshape(len(lengths), blocks)
    begins = slots[:-1] + (slots[1:] - slots[:-1] - sizes.sum(0)) * np.arange(1, len(sizes) + 1)[:, None] // (
        len(sizes) + 1
    )
    begins += np.cumsum(sizes, 0) - sizes
    # With hardly any space, rounding can leave a slot shorter than its spans: they then begin where those before end.
    before = np.cumsum(sizes.T.ravel()) - sizes.T.ravel()
    spaces = np.minimum(np.maximum.accumulate(begins.T.ravel() - before), total - sizes.sum())
    begins = (spaces + before).reshape(begins.T.shape).T
    return [np.stack([begin, begin + size], 1)[size > 0] for begin, size in zip(begins, sizes, strict=True)]


def complement(spans: Spans, total: int) -> Spans:
    """The spans of the positions below ``total`` that are in none of these."""
    edges = np.concatenate([[0], spans.ravel(), [total]]).reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


def blocks_of_text(total: int, boundaries: Boundaries, name: str) -> tuple[dict[str, Spans], int]:
    """The spans of each split of a text of ``total`` characters in evenly spread blocks, and the length of the gap on
    each side of a held-out block, which belongs to no split.

    Held-out splits have exactly the lengths that they would have at the end of the text. The number of blocks grows
    with the square root of the text, so that both number and length grow: 10 validation blocks in 100,000 characters
    of which a tenth is held out, 100 in 10 million.

    Raises:
        UserError: the text is too short for two blocks, or the blocks and gaps leave no training text.
    """
    train, validation = (int(total * fraction) for fraction in boundaries)
    held_out = {"validation": validation - train, "test": total - validation}
    lengths = [length for length in held_out.values() if length]
    blocks = min(max(2, math.isqrt(max(lengths, default=0) // 100)), min(lengths, default=0) // MIN_BLOCK)
    if blocks < 2:
        raise UserError(
            f"corpus.validation: blocks: of the {total:,} characters of {name}, {min(lengths, default=0):,} are held "
            f"out, which is too short for two blocks of at least {MIN_BLOCK}. Raise corpus.validation_fraction or "
            "corpus.test_fraction, use a longer text, or validation: tail"
        )
    spans = spread_blocks(total, lengths, blocks)
    all_spans = np.sort(np.concatenate(spans).ravel()).reshape(-1, 2)
    gap = min(MAX_GAP, int((all_spans[:, 1] - all_spans[:, 0]).min()) // 8)
    gaps = all_spans + np.array([-gap, gap])
    if gaps[0, 0] <= 0 or (gaps[1:, 0] <= gaps[:-1, 1]).any():  # the space at the end is at least that at the start
        raise UserError(
            "corpus.validation: blocks leaves no training text between the blocks of validation and test: lower "
            "corpus.validation_fraction or corpus.test_fraction"
        )
    parts = dict(zip([split for split, length in held_out.items() if length], spans, strict=True))
    return {"train": complement(gaps, total), **{split: parts.get(split, _NONE) for split in held_out}}, gap


_NONE: Spans = np.empty((0, 2), np.int64)


def blocks_of_documents(count: int, boundaries: Boundaries) -> list[npt.NDArray[np.int64]]:
    """The numbers of the documents of each split, held out in evenly spread blocks of consecutive documents; the
    fractions are of the number of documents, with at least one in each split whose fraction is above 0, if there are as
    many (`check_enough_documents`)."""
    train, validation = (int(count * fraction) for fraction in boundaries)
    has_validation, _ = _is_held_out(boundaries)
    lengths = [max(validation - train, int(has_validation)), count - validation]
    lengths[int(lengths[1] > lengths[0])] -= max(0, sum(lengths) - (count - 1))  # at least one is left for training
    blocks = max(1, min(max(lengths), max(10, math.isqrt(max(lengths)))))
    spread = iter(spread_blocks(count, [length for length in lengths if length], blocks))
    numbers = [_positions(next(spread) if length else _NONE) for length in lengths]
    return [np.setdiff1d(np.arange(count), np.concatenate(numbers)), *numbers]


def _positions(spans: Spans) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(begin, end) for begin, end in spans)])


def splits_of_files(ends: Sequence[int], boundaries: Boundaries) -> npt.NDArray[np.int64]:
    """The split of each file, 0 to 2 as in `SPLITS`; ``ends`` are the positions at which the files end.

    The files are shuffled, always in the same way, and then cut at the fractions of the characters, with at least one
    file in each split whose fraction is above 0. Empty files count for training.

    Raises:
        UserError: there are fewer files than splits.
    """
    edges = np.array([0, *ends], np.int64)
    lengths = edges[1:] - edges[:-1]
    (nonempty,) = np.nonzero(lengths)
    needed = 1 + sum(_is_held_out(boundaries))
    if len(nonempty) < needed:
        raise UserError(
            f"corpus.validation: files holds out whole files, so it needs at least {needed} files that are not empty, "
            f"found {len(nonempty)}. Name a folder or several files in corpus.source, or use validation: blocks"
        )
    order = nonempty[permutation(len(nonempty), SHUFFLE_SEED)]
    train, validation = _nearest_boundaries(lengths[order], boundaries)
    splits = np.zeros(len(lengths), np.int64)
    splits[order[train:validation]] = 1
    splits[order[validation:]] = 2
    return splits


def spans_of_files(ends: Sequence[int], splits: npt.NDArray[np.int64]) -> dict[str, Spans]:
    """The spans of each split: every held-out file is one, and so is every run of training files without a held-out
    file between them."""
    files = np.stack([np.array([0, *ends[:-1]], np.int64), np.array(ends, np.int64)], 1)
    held_out = {split: files[splits == number] for number, split in enumerate(SPLITS) if number}
    return {"train": complement(files[splits != 0], ends[-1]), **held_out}


def describe_spans(spans: Mapping[str, Spans], gap: int, unit: str) -> list[str]:
    """The length of each split, the number of its spans if it is held out, and the length of all gaps."""
    parts = [
        f"{int((part[:, 1] - part[:, 0]).sum()):,} {split}" + ("" if split == "train" else f" in {len(part):,} {unit}")
        for split, part in spans.items()
        if len(part)
    ]
    held_out = sum(len(part) for split, part in spans.items() if split != "train")
    return [*parts, f"{2 * gap * held_out:,} in gaps of {gap} around them"] if gap else parts
