"""Documents side by side, to be scored: each from a state of its own that begins with nothing."""

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
from charlstm.text.separators import Places

DOCUMENTS = 64  # read side by side, however long they are
CHARACTERS = 1 << 13  # read side by side, of short documents


def document_pieces(model: LanguageModel, sequences: Sequences) -> Iterator[DocumentPieces]:
    """All documents, those of similar length together; for a bidirectional model, those of equal length: its backward
    stack begins where they end."""
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
    """Some of the documents as `charlstm.evaluation.score` reads them; they begin at offset 0."""

    def __init__(self, model: LanguageModel, sequences: Sequences, which: Places) -> None:
        self._model, self._sequences, self._which = model, sequences, which
        self.longest = int(sequences.lengths[which].max())

    def at(self, begin: int, end: int) -> Tensor:
        window = self._sequences.window(self._which, begin, end)
        return to_device(torch.from_numpy(window), self._model.head.weight.device)

    def put(self, out: npt.NDArray[np.float32], begin: int, values: npt.NDArray[np.float32]) -> None:
        there = self._sequences.counted(self._which, begin, begin + len(values))
        offsets = np.arange(begin, begin + len(values))[:, None] - self._sequences.first[self._which]
        out[(self._sequences.places[self._which] + offsets)[there]] = values[there]

    def warm_up(self) -> State:
        return self._model.initial_state(len(self._which))

    def warm_up_after(self) -> State:
        return self._model.initial_state(len(self._which))
