"""Batches of documents of similar length; every character of every document is a target exactly once per epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from charlstm.errors import UserError
from charlstm.text.documents import Direction, Documents, Sequences, permutation
from charlstm.text.epochs import EpochReader
from charlstm.text.separators import Positions
from charlstm.text.streams import IGNORE, Batch

POOL = 64
"""Number of batches whose documents are sorted by length together."""


class DocumentBatches(EpochReader):
    """D documents in batches of B, cut into chunks of at most T; has the interface of `Streams`.

    In each epoch the documents are shuffled, pools of them are sorted by length, so that a batch has documents of
    similar length, and the batches are shuffled. A chunk is as long as the rest of the longest document in it, at most
    T; shorter documents are padded with the id V and the target `IGNORE`. The last, incomplete batch of an epoch is
    padded with empty rows. The order depends only on ``seed`` and the epoch, so `epoch` and `position` are the whole
    state.

    With fewer documents than B, there is one smaller batch; `batch_size` is the number used, and `notice` reports it.

    Args:
        documents: the documents to read; see `Sequences` for the effect of the direction.
        vocabulary_size: V.
        batch_size: the requested B.
        sequence_length: T.
        direction: direction of the model.
        seed: seed of the order.

    Raises:
        UserError: there are no documents, or with ``score_after`` one is longer than T.
        ValueError: B or T is below 1.
    """

    resident_bytes = 0
    """Bytes of the text that are resident on the device."""

    def __init__(
        self,
        documents: Documents,
        vocabulary_size: int,
        batch_size: int,
        sequence_length: int,
        direction: Direction = "forward",
        seed: int = 1,
    ) -> None:
        if batch_size < 1 or sequence_length < 1:
            raise ValueError("batch_size and sequence_length must be at least 1")
        if len(documents) == 0:
            raise UserError("there is no document to read: the split is empty. Use a longer text")
        self._sequences = Sequences(documents, vocabulary_size, direction)
        self.characters = self._sequences.characters
        self.sequence_length = min(sequence_length, int(self._sequences.lengths.max()))
        self.longest_chunk = self.sequence_length
        self.batch_size = min(batch_size, len(documents))
        self.notice: str | None = None
        if self.batch_size < batch_size:
            self.notice = (
                f"There are only {len(documents):,} documents to train on: "
                f"batches of {self.batch_size} are used instead of {batch_size}."
            )
        if documents.scored is not None and (longest := int(self._sequences.lengths.max())) > sequence_length:
            raise UserError(
                f"training.sequence_length is {sequence_length}; with corpus.score_after a document must fit in one "
                f"chunk: the longest has {longest} characters with its end. Set training.sequence_length to {longest}"
            )
        self.settings = {
            "documents": len(documents),
            "characters": self.characters,
            "batch_size": self.batch_size,
            "sequence_length": sequence_length,
            "backward": int(direction == "backward"),
            "seed": seed,
        }
        self._begin_epoch(0)

    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        self._targets_read = 0
        self._batches = self._order(epoch)
        # For each batch of documents, the index of the chunk after its last one.
        self._chunk_ends = np.cumsum(-(-self._lengths(self._batches).max(1) // self.sequence_length))

    def _order(self, epoch: int) -> Positions:
        """The document numbers of the batches of the epoch, [batches, B]; -1 for an empty row."""
        count = len(self._sequences.lengths)
        order = permutation(count, self.settings["seed"], epoch)
        pools = np.arange(count) // (POOL * self.batch_size)
        order = order[np.lexsort((self._sequences.lengths[order], pools))]
        batches: Positions = np.concatenate([order, np.full(-count % self.batch_size, -1)]).reshape(-1, self.batch_size)
        return batches[permutation(len(batches), self.settings["seed"], epoch, 1)]

    def _lengths(self, batches: Positions) -> Positions:
        lengths: Positions = np.where(batches < 0, 0, self._sequences.lengths[batches])
        return lengths

    @property
    def _batch_index(self) -> int:
        """Index of the current batch of documents."""
        return int(np.searchsorted(self._chunk_ends, self.position, side="right"))

    @property
    def _current_batch(self) -> Positions:
        """The document numbers of the current batch, [B]; -1 for an empty row."""
        numbers: Positions = self._batches[self._batch_index]
        return numbers

    @property
    def _offset(self) -> int:
        """Number of characters of each document of the batch that have been read."""
        index = self._batch_index
        return (self.position - int(self._chunk_ends[index - 1] if index else 0)) * self.sequence_length

    @property
    def steps_per_epoch(self) -> int:
        """Number of chunks in the current epoch; it differs between epochs."""
        return int(self._chunk_ends[-1])

    @property
    def progress(self) -> float:
        """Epochs read so far, as a fraction."""
        return self.epoch + self._targets_read / self.characters

    def next_batch(self) -> Batch:
        """The batch at `position`; advances by one chunk, after the last chunk to the next epoch."""
        begin, numbers = self._offset, self._current_batch
        remaining = np.clip(self._lengths(numbers) - begin, 0, self.sequence_length)
        rows = int(remaining.max())
        window = self._sequences.window(numbers, begin - 1, begin + rows + 1)
        counted = self._sequences.counted(numbers, begin, begin + rows)
        targets = np.where(counted, window[1:-1], IGNORE)
        batch = Batch(
            previous=torch.from_numpy(window[:-2]),
            targets=torch.from_numpy(targets),
            following=torch.from_numpy(window[2:]),
            reset_state=begin == 0,
            count=int(counted.sum()),
            lengths=torch.from_numpy(remaining),
        )
        self._targets_read += batch.count
        self._advance(self._sequences.documents.ids, window.size)
        return batch

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from the position of a `state_dict`; raises as that of `EpochReader`."""
        super().load_state_dict(state)
        batches_read = self._batches[: self._batch_index]
        counted = np.where(batches_read < 0, 0, self._sequences.counts[batches_read]).sum()
        self._targets_read = int(counted + self._sequences.counted(self._current_batch, 0, self._offset).sum())
