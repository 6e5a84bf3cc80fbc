"""Batches of documents to score, each from a zero initial state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.executors.transfer import to_device
from charlstm.model import LanguageModel
from charlstm.text.documents import Sequences
from charlstm.text.separators import Positions

DOCUMENTS = 64  # minimum batch size, for long documents
CHARACTERS = 1 << 13  # maximum total length of a batch of short documents


def document_pieces(model: LanguageModel, sequences: Sequences) -> Iterator[DocumentPieces]:
    """Yield all documents in batches of similar length; for a bidirectional model of equal length, since its backward
    stack starts at their ends."""
    lengths = sequences.lengths
    order = np.argsort(-lengths, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(lengths[order])) + 1, len(order))
    first = 0
    while first < len(order):
        last = first + max(DOCUMENTS, CHARACTERS // int(lengths[order[first]]))
        if model.bidirectional:
            last = min(last, int(ends[np.searchsorted(ends, first, side="right")]))
        yield DocumentPieces(model, sequences, order[first:last])
        first = last


class DocumentPieces:
    """A batch of documents as :class:`charlstm.evaluation.score.Pieces`; each begins at offset 0."""

    def __init__(self, model: LanguageModel, sequences: Sequences, indices: Positions) -> None:
        self._model, self._sequences, self._indices = model, sequences, indices
        self.longest = int(sequences.lengths[indices].max())

    def ids_at(self, begin: int, end: int) -> Tensor:
        window = self._sequences.window(self._indices, begin, end)
        return to_device(torch.from_numpy(window), self._model.head.weight.device)

    def store(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None:
        is_scored = self._sequences.counted(self._indices, begin, begin + len(values))
        offsets = np.arange(begin, begin + len(values))[:, None] - self._sequences.first[self._indices]
        out[(self._sequences.offsets[self._indices] + offsets)[is_scored]] = values[is_scored]

    def state_before(self) -> State:
        return self._model.initial_state(len(self._indices))

    def state_after(self) -> State:
        return self._model.initial_state(len(self._indices))
