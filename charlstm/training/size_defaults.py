"""The settings that ``charlstm train`` takes for sections that a configuration leaves out: by the size of the text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from charlstm.config import Document
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents

MINUTES = 3.0


@dataclass(frozen=True)
class SizeDefaults:
    """Settings for texts of up to ``characters`` characters in the training split."""

    characters: float
    hidden_size: int
    dropout: float
    batch_size: int
    sequence_length: int
    learning_rate: float
    epochs: float


TABLE = (
    SizeDefaults(5e3, 64, 0.5, 4, 32, 1e-2, 30),
    SizeDefaults(5e4, 128, 0.3, 8, 64, 1e-2, 30),
    SizeDefaults(5e5, 256, 0.3, 16, 64, 8e-3, 12),
    SizeDefaults(5e6, 256, 0.1, 32, 64, 1.2e-2, 10),
    SizeDefaults(float("inf"), 512, 0.0, 64, 128, 4e-3, 2),
)
"""By rising size."""


def size_defaults(characters: int) -> SizeDefaults:
    """The row of the table for a training split of this many characters."""
    return next(row for row in TABLE if characters <= row.characters)


def fill_left_out(document: Document, corpus: Corpus) -> tuple[Document, list[str]]:
    """The document with the sections ``model`` and ``training``, and the names of those that it left out."""
    missing = [section for section in ("model", "training") if document.data.get(section) is None]
    chosen = chosen_sections(corpus) if missing else {}
    return replace(document, data={**document.data, **{section: chosen[section] for section in missing}}), missing


def chosen_sections(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """The sections ``model`` and ``training`` for a corpus, as plain data of a configuration.

    The budget is a number of epochs or 3 minutes, whichever ends first. A batch of documents has about as many
    characters as one of a running text.
    """
    train = corpus.split("train")
    characters = corpus.length("train")
    row = size_defaults(characters)
    batch, length = row.batch_size, row.sequence_length
    if isinstance(train, Documents) and not train.is_running_text:
        mean = characters / len(train)
        batch = max(1, min(512, round(batch * length / mean), len(train) // 4))
    return {
        "model": {"cell": "lstm", "hidden_size": row.hidden_size, "dropout": row.dropout},
        "training": {
            "batch_size": batch,
            "sequence_length": length,
            "learning_rate": row.learning_rate,
            "evaluate_every": None,
            "budget": {"epochs": row.epochs, "minutes": MINUTES},
        },
    }
