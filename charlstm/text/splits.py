"""The boundaries of the training, validation and test splits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from charlstm.errors import UserError
from charlstm.text.documents import Documents


def cumulative_fractions(validation: float, test: float) -> tuple[Fraction, Fraction]:
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


def document_boundaries(
    documents: Documents, boundaries: tuple[Fraction, Fraction], name: str, hint: str = ""
) -> tuple[int, int]:
    """The numbers of documents at which the training split and the validation split end.

    The fractions of characters are as near as possible to ``boundaries`` (`cumulative_fractions`), with at least one
    document in each split whose fraction is above 0.

    Raises:
        UserError: there are fewer documents than splits.
    """
    count, has_validation, has_test = len(documents), boundaries[0] < boundaries[1], boundaries[1] < 1
    if count < 1 + has_validation + has_test:
        raise UserError(
            f"{name}: corpus.documents splits it into {'1 document' if count == 1 else f'{count} documents'}: too few "
            f"for training, validation and test. {hint or 'Use another separator, or a longer text'}"
        )
    ends = np.cumsum(documents.ends - documents.starts + len(documents.end_mark))
    train, validation = (int(np.abs(ends - int(int(ends[-1]) * fraction)).argmin()) + 1 for fraction in boundaries)
    train = min(train, count - has_validation - has_test)
    return train, min(max(validation, train + has_validation), count - has_test)
