"""Where training, validation and test text begin and end."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from charlstm.errors import UserError
from charlstm.text.documents import Documents


def kept_shares(validation: float, test: float) -> tuple[Fraction, Fraction]:
    """The shares of the text before the end of training, and before the end of validation.

    Raises:
        UserError: they leave no room.
    """
    # Decimal fractions, exactly: in floating point 1 - 0.9 of ten characters is none.
    parts = Fraction(str(validation)), Fraction(str(test))
    if min(parts) < 0 or sum(parts) >= 1:
        raise UserError(
            f"corpus.validation_fraction ({validation}) and corpus.test_fraction ({test}) must be at least 0 "
            "and together less than 1"
        )
    return 1 - parts[0] - parts[1], 1 - parts[1]


def document_boundaries(
    documents: Documents, kept: tuple[Fraction, Fraction], name: str, question: str = ""
) -> tuple[int, int]:
    """The numbers of documents before the end of training, and before the end of validation: those at which the shares
    of characters are nearest to the shares wanted, with one document at least in each split that is wanted.

    Raises:
        UserError: there are fewer documents than splits.
    """
    count, validated, tested = len(documents), kept[0] < kept[1], kept[1] < 1
    if count < 1 + validated + tested:
        raise UserError(
            f"{name}: corpus.documents finds {'1 document' if count == 1 else f'{count} documents'} in it: too few for "
            f"training, validation and test. {question or 'Give another separator, or a longer text'}"
        )
    after = np.cumsum(documents.ends - documents.starts + len(documents.end_mark))
    train, validation = (int(np.abs(after - int(int(after[-1]) * share)).argmin()) + 1 for share in kept)
    train = min(train, count - validated - tested)
    return train, min(max(validation, train + validated), count - tested)
