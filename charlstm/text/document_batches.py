"""Batches of documents of similar length: every character of every document is a target exactly once an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from charlstm.errors import UserError
from charlstm.text.documents import Direction, Documents, Sequences, permutation
from charlstm.text.memory_map import release
from charlstm.text.separators import Places
from charlstm.text.streams import DAMAGED, IGNORE, RELEASE_AFTER, Batch, saved_place

POOL = 64
"""Batches' worth of documents that are sorted by length together."""


class DocumentBatches:
    """D documents, B at a time from their beginnings, cut into chunks of at most T; beside `Streams`, and used alike.

    In each epoch the documents are shuffled, pools of them are sorted by length, so that a batch has documents of
    similar length, and the batches are shuffled. A chunk is as long as what is left of the longest document in it, at
    most T; the shorter ones are filled up with the id V and targets that do not count. The epoch's odd batch is filled
    up with empty rows. The order depends on ``seed`` and the epoch alone: `epoch` and `position` say all.

    Fewer documents than B are one smaller batch; `batch_size` is the number used, and `notice` says so.

    Args:
        documents: those to read; see `Sequences` for what of them is read in which direction.
        vocabulary_size: V.
        batch_size: B wished for.
        sequence_length: T.
        direction: the model's.
        seed: of the order.

    Raises:
        UserError: there are no documents, or only a part of each counts and one is longer than T.
        ValueError: B or T is below 1.
    """

    bytes_laid = 0
    """Bytes of the text that lie on the device for good."""

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
            raise UserError("there is no document to read: the split is empty. Give a longer text")
        self._sequences = Sequences(documents, vocabulary_size, direction)
        self.characters = self._sequences.characters
        self.sequence_length = min(sequence_length, int(self._sequences.lengths.max()))
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
        self._settings = {
            "documents": len(documents),
            "characters": self.characters,
            "batch_size": self.batch_size,
            "sequence_length": sequence_length,
            "backward": int(direction == "backward"),
            "seed": seed,
        }
        self._unreleased = 0
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        """Epochs completed."""
        self.position = 0
        """Index, within the epoch, of the chunk that comes next."""
        self._read = 0
        self._batches = self._order(epoch)
        self._last_chunks = np.cumsum(-(-self._lengths(self._batches).max(1) // self.sequence_length))

    def _order(self, epoch: int) -> Places:
        """The epoch's batches, [number, B]; -1 for an empty row."""
        count = len(self._sequences.lengths)
        order = permutation(count, self._settings["seed"], epoch)
        pools = np.arange(count) // (POOL * self.batch_size)
        order = order[np.lexsort((self._sequences.lengths[order], pools))]
        batches: Places = np.concatenate([order, np.full(-count % self.batch_size, -1)]).reshape(-1, self.batch_size)
        return batches[permutation(len(batches), self._settings["seed"], epoch, 1)]

    def _lengths(self, batches: Places) -> Places:
        lengths: Places = np.where(batches < 0, 0, self._sequences.lengths[batches])
        return lengths

    @property
    def _number(self) -> int:
        """Which of the batches is being read."""
        return int(np.searchsorted(self._last_chunks, self.position, side="right"))

    @property
    def _current(self) -> Places:
        which: Places = self._batches[self._number]
        return which

    @property
    def _offset(self) -> int:
        """How much of the batch has been read, in characters of each document."""
        number = self._number
        return (self.position - int(self._last_chunks[number - 1] if number else 0)) * self.sequence_length

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in the epoch that is being read; each epoch has its own."""
        return int(self._last_chunks[-1])

    @property
    def progress(self) -> float:
        """Epochs read so far, as a fraction."""
        return self.epoch + self._read / self.characters

    def next_batch(self) -> Batch:
        """The batch at `position`; moves on by one chunk, and after the last one to the next epoch."""
        begin, which = self._offset, self._current
        left = np.clip(self._lengths(which) - begin, 0, self.sequence_length)
        rows = int(left.max())
        window = self._sequences.window(which, begin - 1, begin + rows + 1)
        counted = self._sequences.counted(which, begin, begin + rows)
        targets = np.where(counted, window[1:-1], IGNORE)
        batch = Batch(
            previous=torch.from_numpy(window[:-2]),
            targets=torch.from_numpy(targets),
            following=torch.from_numpy(window[2:]),
            fresh=begin == 0,
            count=int(counted.sum()),
            lengths=torch.from_numpy(left),
        )
        self._unreleased += window.size
        if self._unreleased >= RELEASE_AFTER:
            release(self._sequences.documents.ids)
            self._unreleased = 0
        self.position += 1
        self._read += batch.count
        if self.position == self.steps_per_epoch:
            self._begin(self.epoch + 1)
        return batch

    def state_dict(self) -> dict[str, int]:
        """Where the reading stands, with the documents and settings it holds for: plain integers."""
        return {"epoch": self.epoch, "position": self.position, **self._settings}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            UserError: the state was taken with other documents or settings, or is damaged.
        """
        epoch, position = saved_place(state, self._settings)
        self._begin(epoch)
        if position >= self.steps_per_epoch:
            raise UserError(DAMAGED)
        self.position = position
        before = self._batches[: self._number]
        counted = np.where(before < 0, 0, self._sequences.counts[before]).sum()
        self._read = int(counted + self._sequences.counted(self._current, 0, self._offset).sum())
