"""Batches of a text with holes: streams that begin again, from a zero state, after each hole."""

from __future__ import annotations

import numpy as np
import torch

from charlstm.text.documents import Documents
from charlstm.text.epochs import EpochReader, check_shape, too_short
from charlstm.text.streams import IGNORE, Batch


class BlockStreams(EpochReader):
    """Blocks of a text as B streams of chunks of T; has the interface of `Streams`.

    Each block is cut into chunks of T, the last of which may be shorter and is padded with the id V and the target
    `IGNORE`. Stream b has the chunks ``[C*b//B, C*(b+1)//B)`` of all C chunks, so every character of every block is a
    target exactly once per epoch, and no chunk crosses a hole. The state is carried within a block; in a stream in
    which a block begins, it is reset (`Batch.fresh`), and the first character has no character before it.

    With a washout, the first ``washout`` targets after each reset do not count, but at least one of a block's does.

    Args:
        text: the blocks, `Documents.is_running_text`.
        vocabulary_size: V.
        batch_size: the requested B; with fewer chunks, there are fewer streams, as `notice` reports.
        sequence_length: T.
        reverse: read the text from right to left.
        washout: number of targets after a reset that do not count.

    Raises:
        UserError: there are no blocks.
        ValueError: B or T is below 1.
    """

    resident_bytes = 0
    """Bytes of the text that are resident on the device."""

    def __init__(
        self,
        text: Documents,
        vocabulary_size: int,
        batch_size: int,
        sequence_length: int,
        reverse: bool = False,
        washout: int = 0,
    ) -> None:
        check_shape(batch_size, sequence_length, len(text))
        self.ids, self.vocabulary_size, self.sequence_length, self.reverse = (
            text.ids,
            vocabulary_size,
            sequence_length,
            reverse,
        )
        self.longest_chunk = sequence_length
        step = -1 if reverse else 1
        self._starts, self._ends = text.starts[::step], text.ends[::step]
        self._lengths = self._ends - self._starts
        self.characters = int(self._lengths.sum())
        ends = np.cumsum(-(-self._lengths // sequence_length))
        self._first_chunks = np.append(0, ends[:-1])
        chunks = int(ends[-1])
        self.batch_size = min(batch_size, chunks)
        self.notice = too_short(self.characters, batch_size, sequence_length, self.batch_size)
        self.settings = {
            "characters": self.characters,
            "blocks": len(self._lengths),
            "batch_size": self.batch_size,
            "sequence_length": sequence_length,
            "reverse": int(reverse),
        }
        self._bounds = np.array([chunks * b // self.batch_size for b in range(self.batch_size + 1)], np.int64)
        self._washout = min(washout, int(np.minimum(self._lengths, sequence_length).min()) - 1)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return int(np.diff(self._bounds).max())

    def next_batch(self) -> Batch:
        """The batch at `position`; advances by one chunk, after the last chunk to the next epoch."""
        chunks = self._bounds[:-1] + self.position
        block = np.searchsorted(self._first_chunks, chunks, side="right") - 1
        begin = (chunks - self._first_chunks[block]) * self.sequence_length
        is_read = chunks < self._bounds[1:]
        lengths = np.where(is_read, np.minimum(self.sequence_length, self._lengths[block] - begin), 0)
        rows = int(lengths.max())
        offsets = begin + np.arange(-1, rows + 1)[:, None]
        positions = self._ends[block] - 1 - offsets if self.reverse else self._starts[block] + offsets
        window = np.take(self.ids, positions, mode="clip").astype(np.int64)
        window[(offsets < 0) | (offsets >= self._lengths[block]) | ~is_read] = self.vocabulary_size
        fresh = is_read & (begin == 0)
        ignored = np.where(fresh | (self.position == 0), self._washout, 0)
        row = np.arange(rows)[:, None]
        counted = (row >= ignored) & (row < lengths)
        batch = Batch(
            previous=torch.from_numpy(window[:-2]),
            targets=torch.from_numpy(np.where(counted, window[1:-1], IGNORE)),
            following=torch.from_numpy(window[2:]),
            reset_state=self.position == 0,
            count=int(counted.sum()),
            lengths=torch.from_numpy(lengths),
            fresh=torch.from_numpy(fresh) if self.position and fresh.any() else None,
        )
        self._advance(self.ids, window.size)
        return batch
