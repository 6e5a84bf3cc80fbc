"""Splits of documents end nearest to the requested fractions, and no requested split is empty."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from charlstm.errors import UserError
from charlstm.text.documents import Documents, split_documents
from charlstm.text.splits import cumulative_fractions, document_boundaries
from charlstm.text.vocabulary import Vocabulary


def documents_of(sizes: list[int]) -> Documents:
    """Lines of the given lengths, which include the line end."""
    vocabulary = Vocabulary.from_text("a\n")
    return split_documents(
        vocabulary.encode("".join("a" * (n - 1) + "\n" for n in sizes)).astype(np.uint8), vocabulary, "newline"
    )


@pytest.mark.parametrize(
    ("sizes", "validation", "test", "expected"),
    [
        ([10] * 10, 0.2, 0.1, (7, 9)),
        ([10] * 10, 0.24, 0.0, (8, 10)),
        ([10] * 10, 0.26, 0.0, (7, 10)),
        ([10] * 10, 0.0, 0.0, (10, 10)),
        ([10] * 10, 0.0, 0.3, (7, 7)),
        ([10] * 10, 0.3, 0.0, (7, 10)),
        ([4, 4, 4], 0.01, 0.01, (1, 2)),
        ([2, 2, 100], 0.1, 0.1, (1, 2)),
        ([100, 2, 2, 2], 0.3, 0.3, (1, 2)),
        ([100, 2, 2, 2], 0.01, 0.01, (2, 3)),
        ([3, 3], 0.01, 0.0, (1, 2)),
        ([3, 3], 0.0, 0.01, (1, 1)),
        ([3], 0.0, 0.0, (1, 1)),
    ],
)
def test_splits_end_nearest_to_their_fractions(sizes, validation, test, expected):
    boundaries = document_boundaries(documents_of(sizes), cumulative_fractions(validation, test), "a.txt")
    assert boundaries == expected


@pytest.mark.parametrize(
    ("count", "validation", "test"), [(1, 0.1, 0.0), (1, 0.0, 0.1), (1, 0.1, 0.1), (2, 0.1, 0.1), (0, 0.0, 0.0)]
)
def test_fewer_documents_than_splits_is_an_error(count, validation, test):
    documents = documents_of([3, 3]).select(slice(0, count))
    number = "1 document" if count == 1 else f"{count} documents"
    with pytest.raises(UserError, match=rf"^a\.txt: corpus\.documents splits it into {number}: too few"):
        document_boundaries(documents, cumulative_fractions(validation, test), "a.txt")


def test_cumulative_fractions_are_exact():
    assert cumulative_fractions(0.1, 0.2) == (Fraction(7, 10), Fraction(8, 10))
    assert cumulative_fractions(0.9, 0.0) == (Fraction(1, 10), 1)
    assert cumulative_fractions(0.0, 0.999) == (Fraction(1, 1000), Fraction(1, 1000))
